"""Draws the pictures of docs/xray.md. Run: python docs/make_xray.py."""

from __future__ import annotations

from pathlib import Path

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from fluoro_jax.geometry import square_panel, varian
from fluoro_jax.sim import fluoroscope
from fluoro_jax.sim.body.anatomy import sample_anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.tumor.tumor import Tumor
from fluoro_jax.sim.xray import exposure as ex
from fluoro_jax.sim.xray.scatter import AntiscatterGrid, Scatter

HERE = Path(__file__).parent
VOXEL_MM = 2.0
TUMOR_MM = (-72.0, 15.0, 30.0)


def patient() -> fluoroscope.Case:
    """Returns a sampled patient with a 20 mm tumour in the right lung, mid inhale."""
    tumor = Tumor(np.array(TUMOR_MM, np.float32), 20.0, 10.0, 4.0)
    times = np.array([1.0], np.float32)
    anatomy = sample_anatomy(jax.random.key(1))
    return fluoroscope.Case(anatomy, Breathing(), tumor, times)


def save(name: str, panels: list[tuple[str, np.ndarray, tuple]], columns: int) -> None:
    """Writes one row or grid of grey pictures with their titles."""
    rows = -(-len(panels) // columns)
    height, width = panels[0][1].shape
    size = (2.9 * columns, (2.9 * height / width + 0.3) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained")
    for axis in np.ravel(axes):
        axis.axis("off")
    for axis, (title, frame, window) in zip(np.ravel(axes), panels, strict=False):
        axis.imshow(frame, cmap="gray", vmin=window[0], vmax=window[1])
        axis.set_title(title, fontsize=8)
    figure.savefig(HERE / f"{name}.png", dpi=110)
    plt.close(figure)


def main() -> None:
    """Writes xray_stages.png, xray_dose.png and xray_outputs.png."""
    case, key = patient(), jax.random.key(0)
    wide, native = square_panel(256), varian()
    body = {
        view: fluoroscope.render_areal_density(case, view, voxel_mm=VOXEL_MM)
        for view in (wide, native)
    }

    def radiograph(view: object, exposure: ex.Exposure) -> np.ndarray:
        clip = fluoroscope.expose_tumor(
            body[view], case, view, exposure=exposure, key=key
        )
        return np.asarray(clip.frames[0])

    tube, veil = ex.Tube(80.0), Scatter(spr=2.5)
    stages = {
        "ideal, 60 keV": ex.ideal(),
        "80 kVp": ex.Exposure(tube=tube),
        "120 kVp": ex.Exposure(tube=ex.Tube(120.0)),
        "80 kVp, scatter 2.5": ex.Exposure(tube=tube, scatter=veil),
        "the same with a grid": ex.Exposure(
            tube=tube, scatter=veil, grid=AntiscatterGrid()
        ),
        "varian_fluoro()": ex.varian_fluoro(),
    }
    log = (0.3, 6.3)
    save("xray_stages", [(n, radiograph(wide, e), log) for n, e in stages.items()], 3)
    crop = (slice(230, 430), slice(330, 570))
    doses = [(f"{mas:g} mAs", ex.varian_fluoro(mas=mas)) for mas in (0.1, 0.5, 2.0)]
    clean = ("no noise", ex.varian_fluoro(mas=0.5).replace(noise="none"))
    pictures = [
        (n, radiograph(native, e)[crop], (1.2, 5.6)) for n, e in [*doses, clean]
    ]
    save("xray_dose", pictures, 4)
    typical = ex.varian_fluoro()
    black = typical.display.replace(bone="black")
    jaws = ex.Jaws(up_mm=110.0, down_mm=60.0, left_mm=125.0, right_mm=20.0)
    outputs = [
        ("log", typical, log),
        ("counts", typical.replace(output="counts"), (0.0, 1.2e5)),
        ("display, bone white", typical.replace(output="display"), (0.0, 1.0)),
        (
            "display, bone black",
            typical.replace(output="display", display=black),
            (0.0, 1.0),
        ),
        ("log, collimated", typical.replace(jaws=jaws), (0.3, 8.0)),
    ]
    save("xray_outputs", [(n, radiograph(wide, e), w) for n, e, w in outputs], 5)


if __name__ == "__main__":
    main()
