import dataclasses

import jax
import jax.numpy as jnp
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import square_panel
from fluoro_jax.sim.xray import detector as dt
from fluoro_jax.sim.xray import exposure as ex
from fluoro_jax.sim.xray.scatter import AntiscatterGrid, Scatter

FULL = ex.varian_fluoro().replace(pulse_s=0.1, jaws=ex.Jaws(90.0, 90.0, 90.0, 90.0))
VIEW = square_panel(8)


def with_setting(exposure, name, value):
    """The exposure with one dotted setting changed."""
    head, _, rest = name.partition(".")
    if rest:
        value = with_setting(getattr(exposure, head), rest, value)
    return dataclasses.replace(exposure, **{head: value})


@pytest.mark.parametrize("name", ex.LIMITS)
def test_every_limit_is_refused_by_name_with_its_range(name):
    low, high, why = ex.LIMITS[name]
    exposure = FULL
    if name == "quanta":
        exposure = FULL.replace(mas=None)
    whole = name in ("tube.nodes", "sub_phases", "panel.binning")
    for bad in (low - 1, high * 2 + 1, *([] if whole else [float("nan")])):
        with pytest.raises(UserError) as error:
            ex.validate(with_setting(exposure, name, bad))
        assert error.value.found.startswith(f"{name} = ")
        assert error.value.needed == f"{low:g} to {high:g}" and error.value.why == why
    for good in (low, high):
        ex.validate(with_setting(exposure, name, good))


@pytest.mark.parametrize("name", ex.CHOICES)
def test_unknown_choices_are_refused(name):
    with pytest.raises(UserError, match="one of"):
        ex.validate(with_setting(FULL, name, "none of these"))


@pytest.mark.parametrize(
    ("exposure", "found"),
    [
        (ex.Exposure(mas=1.0), "mas is set without a tube"),
        (FULL.replace(quanta=1e4), "mas and quanta are both set"),
        (ex.Exposure(output="counts"), "without mas or quanta"),
        (ex.Exposure(panel=ex.Panel(electronic_quanta=3.0)), "without mas or quanta"),
        (ex.Exposure(panel=ex.Panel(saturation_quanta=9.0)), "without mas or quanta"),
        (ex.Exposure(grid=AntiscatterGrid()), "a grid without scatter"),
        (
            ex.Exposure(display=ex.Display(low=3.0, high=3.0)),
            "display.low = 3.0 and display.high = 3.0",
        ),
    ],
)
def test_stages_that_need_or_exclude_each_other(exposure, found):
    with pytest.raises(UserError, match=found):
        ex.validate(exposure)


def test_acquire_refuses_before_it_computes():
    areal_density = jnp.ones((2, 1, 8, 8))
    with pytest.raises(UserError, match=r"tube.kvp = 140"):
        dt.acquire(areal_density, VIEW, ex.varian_fluoro(140.0), jax.random.key(0))
    with pytest.raises(UserError, match="noise without a key"):
        dt.acquire(areal_density, VIEW, ex.varian_fluoro())
    odd = ex.Exposure(panel=ex.Panel(binning=3))
    with pytest.raises(UserError, match="8 x 8 pixels with binning 3"):
        dt.acquire(areal_density, VIEW, odd)


def test_presets_are_valid_and_differ_and_only_ideal_is_ideal():
    presets = {"varian": ex.varian_fluoro(), "elekta": ex.elekta_fluoro()}
    for preset in presets.values():
        ex.validate(preset)
        assert not preset.is_ideal
    assert presets["varian"].grid is not None and presets["elekta"].grid is None
    assert ex.ideal().is_ideal


@pytest.mark.parametrize("name", ["tube", "mas", "focal_spot_mm", "pulse_s", "scatter"])
def test_any_one_stage_makes_it_less_than_ideal(name):
    assert not ex.ideal().replace(**{name: getattr(FULL, name)}).is_ideal


@pytest.mark.parametrize(
    "name", ["blur_mm", "lag", "gain_sd", "electronic_quanta", "saturation_quanta"]
)
def test_any_one_panel_stage_makes_it_less_than_ideal(name):
    panel = ex.Panel(**{name: getattr(FULL.panel, name)})
    assert not ex.Exposure(panel=panel).is_ideal
    assert not ex.Exposure(panel=ex.Panel(binning=2)).is_ideal


def test_an_exposure_is_a_pytree_of_its_numbers():
    doubled = jax.tree.map(lambda leaf: 2 * leaf, ex.Exposure(scatter=Scatter(spr=1.5)))
    assert doubled.scatter.spr == 3.0 and doubled.tube is None
    # numbers under jit cannot be looked at
    jax.jit(lambda e: (ex.validate(e), e.mas)[1])(FULL)
