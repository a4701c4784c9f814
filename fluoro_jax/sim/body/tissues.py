"""Densities of tissues, each as soft tissue and cortical bone that attenuate so.

At 60 keV a voxel attenuates by soft * SOFT_MU_PER_DENSITY + bone * BONE_MU_PER_DENSITY
(attenuation.py). The first number of a tissue is g/cc of soft tissue (ICRU Report 44),
the second g/cc of cortical bone (ICRU 44, 1.92 g/cc). Where a tissue is composed
otherwise (fat), the first number is the density of soft tissue that attenuates alike at
60 keV.

Sources: attenuation at 60 keV from ICRU Report 44 compositions and densities (cortical
bone 1.92, muscle 1.05, adipose 0.95, blood 1.06, cartilage 1.10 g/cc) with the tables
of Elam et al. 2002 (doi:10.1016/S0969-806X(01)00227-4). Shell and marrow are set so
that a rib as a whole attenuates as 36 % of 1.41 and 64 % of 1.12 g/cc do (thorax of
the FORBILD phantom collection), 0.0307 / mm; vertebrae 1.3 times water, as in CT.
"""

from __future__ import annotations

from fluoro_jax.sim.xray import attenuation as att

LUNG = att.LUNG_MU_PER_DENSITY / att.SOFT_MU_PER_DENSITY  # soft g/cc per g/cc of lung

Tissue = tuple[float, float]  # soft, bone; g/cc

AIR: Tissue = (0.0, 0.0)
SKIN: Tissue = (1.09, 0.0)
ADIPOSE: Tissue = (att.ADIPOSE / att.SOFT_MU_PER_DENSITY, 0.0)
MUSCLE: Tissue = (att.MUSCLE / att.SOFT_MU_PER_DENSITY, 0.0)
BLOOD: Tissue = (att.BLOOD / att.SOFT_MU_PER_DENSITY, 0.0)
HEART: Tissue = (1.055, 0.0)  # muscle and blood
LIVER: Tissue = (1.06, 0.0)
SPLEEN: Tissue = (1.06, 0.0)
STOMACH: Tissue = (1.04, 0.0)
KIDNEY: Tissue = (1.05, 0.0)
OESOPHAGUS: Tissue = (1.03, 0.0)
MEDIASTINUM: Tissue = (1.00, 0.0)  # fat with nodes and small vessels
VISCERA: Tissue = (0.99, 0.0)  # bowel and the fat between
CARTILAGE: Tissue = (1.04, 0.055)  # 1.10 g/cc, 0.0230 / mm
RIB_SHELL: Tissue = (0.22, 1.50)
RIB_MARROW: Tissue = (0.98, 0.06)
VERTEBRA_SHELL: Tissue = (0.45, 1.10)
VERTEBRA_MARROW: Tissue = (0.94, 0.17)
STERNUM: Tissue = (0.95, 0.20)
SCAPULA: Tissue = (0.60, 0.80)
LONG_SHELL: Tissue = (0.20, 1.60)  # clavicle, humerus
LONG_MARROW: Tissue = (0.96, 0.06)

RIB_SHELL_MM = 0.7
VERTEBRA_SHELL_MM = 1.2
LONG_SHELL_MM = 1.6
