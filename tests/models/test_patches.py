"""Networks on cells of pixels: exact unfolding, right shapes and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import normal, quick_jit, random_params

from fluoro_jax.config import validate
from fluoro_jax.errors import UserError
from fluoro_jax.models.generator import Generator, from_patches, to_patches
from fluoro_jax.training import freeze

to_patches = jax.jit(to_patches, static_argnums=1)
from_patches = jax.jit(from_patches, static_argnums=1)
UNSCALED = dict(input_mean=0.0, input_scale=1.0)
SMALL = dict(levels=2, refine_levels=1, base=4, cap=8, bidirectional=False, **UNSCALED)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_unfolding_undoes_folding(size):
    x = np.asarray(normal(0, 2, 3, 8, 12))
    cells = to_patches(x[..., None], size)
    assert cells.shape == (2, 3, 8 // size, 12 // size, size**2)
    np.testing.assert_array_equal(from_patches(cells, size), x)


def test_a_cell_holds_the_pixels_of_its_place():
    x = np.arange(16.0, dtype=np.float32).reshape(1, 1, 4, 4, 1)
    cells = np.asarray(to_patches(x, 2))
    np.testing.assert_array_equal(cells[0, 0, 0, 1], [2.0, 3.0, 6.0, 7.0])


def test_logits_have_the_size_of_the_frames_and_reach_every_parameter():
    generator = Generator(patch=2, stem=6, **SMALL)
    x = normal(1, 1, 2, 16, 16, 3)
    params = random_params(generator, x)
    assert params["stem"]["kernel"].shape == (12, 6)

    def loss(params):
        output = generator.apply({"params": params}, x)
        return jnp.sum(output.logits**2), output

    grads, output = quick_jit(jax.grad(loss, has_aux=True))(params)
    assert output.logits.shape == output.coarse_logits.shape == (1, 2, 16, 16)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads["stem"]))


def test_the_stem_is_the_first_layer_in_fine_tuning():
    layer = {"kernel": 0.0}
    params = {"stem": layer, "coarse": {"down_0": layer, "up_0": layer}}
    found = {
        name: freeze.labels(params, name)["stem"]["kernel"] for name in freeze.RULES
    }
    stays = {name for name, label in found.items() if label == freeze.FREEZE}
    assert stays == {"ends", "all_but_last"}


def test_levels_are_counted_on_cells():
    from configs.base import base_config

    cfg = base_config("smoke")
    cfg.gen.update(patch=4, stem=8, levels=2, refine_levels=2)
    validate(cfg, training=False)
    cfg.gen.levels = 3
    with pytest.raises(UserError, match="cells of 4 pixels"):
        validate(cfg, training=False)
    cfg.gen.update(levels=2, stem=0)
    with pytest.raises(UserError, match=r"gen\.stem = 0"):
        validate(cfg, training=False)
    cfg.gen.update(stem=8, patch=5)
    with pytest.raises(UserError, match="divisible"):
        validate(cfg, training=False)
