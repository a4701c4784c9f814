from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.base import SCALES, base_config
from fluoro_jax.errors import UserError
from fluoro_jax.models.generator import Generator
from fluoro_jax.training import optim
from fluoro_jax.training.checkpoint import Checkpoints
from fluoro_jax.training.freeze import FREEZE, TRAIN, labels
from fluoro_jax.training.state import digest

SETS = ("nothing", "bottom", "ends", "all_but_last")
OPT = base_config().gen_opt
OPT.warmup_steps = 0  # the first update of a warm-up has no rate


@functools.cache
def shapes(scale):
    cfg = base_config(scale)
    stack = jax.ShapeDtypeStruct((1, 1, cfg.study.rows, cfg.study.cols, 3), jnp.float32)
    made = jax.eval_shape(Generator(**cfg.gen).init, jax.random.key(0), stack)
    return made["params"]


def filled(seed, size=1.0, scale="smoke"):
    """Random numbers in the tree of a generator's parameters."""
    rng = np.random.default_rng(seed)
    draw = lambda leaf: rng.normal(0.0, size, leaf.shape).astype(np.float32)
    return jax.tree.map(draw, shapes(scale))


def frozen_layers(tree):
    """Names of the layers whose every parameter stays; none is half frozen."""
    found = {}
    for net, layers in tree.items():
        kinds = {name: set(jax.tree.leaves(layer)) for name, layer in layers.items()}
        assert all(kind in ({TRAIN}, {FREEZE}) for kind in kinds.values())
        found[net] = {name for name, kind in kinds.items() if kind == {FREEZE}}
    return found


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("frozen", SETS)
def test_every_parameter_has_a_label_at_every_scale(scale, frozen):
    params = shapes(scale)
    tree = labels(params, frozen)
    assert jax.tree.structure(tree) == jax.tree.structure(params)
    stay, all_layers = frozen_layers(tree), {n: set(params[n]) for n in params}
    for net in ("coarse", "refine"):
        last = max(int(n[5:]) for n in params[net] if n.startswith("down_"))
        expected = {
            "nothing": set(),
            "bottom": {f"{way}_{last - i}" for way in ("down", "up") for i in (0, 1)}
            | {f"lstm_{last}"},
            "ends": {"down_0", "up_0", "logit"},
            "all_but_last": all_layers[net] - {"up_0", "logit"},
        }[frozen]
        assert expected <= all_layers[net] and stay[net] == expected


def test_a_generator_without_refinement_or_memory():
    params = {"coarse": {k: v for k, v in shapes("cpu")["coarse"].items()}}
    del params["coarse"]["lstm_4"]
    expected = {"coarse": {"down_3", "down_4", "up_3", "up_4"}}
    assert frozen_layers(labels(params, "bottom")) == expected


def test_an_unknown_name_is_refused():
    with pytest.raises(UserError, match="bottom, ends, all_but_last"):
        labels(shapes("smoke"), "top")


def moved_by(tx, params, gradients):
    quick = {"xla_backend_optimization_level": 0}  # compiling takes longer than running
    program = functools.partial(jax.jit, compiler_options=quick)

    @program
    def update(gradient, state, params):
        moves, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, moves), state

    state, start = program(tx.init)(params), params
    for gradient in gradients:
        params, state = update(gradient, state, params)
    return (
        jax.tree.map(lambda a, b: np.asarray(a) != np.asarray(b), params, start),
        params,
        state,
    )


@pytest.mark.parametrize("frozen", SETS)
def test_only_what_is_trained_moves(frozen):
    params, gradients = filled(0), [filled(1), filled(2)]
    tx = optim.make_optimizer(OPT, 10, frozen=frozen)
    moved, _, _ = moved_by(tx, params, gradients)
    for label, leaf in zip(
        jax.tree.leaves(labels(params, frozen)), jax.tree.leaves(moved), strict=True
    ):
        assert leaf.all() if label == TRAIN else not leaf.any()


def trained_part(tree, frozen):
    stay = frozen_layers(labels(tree, frozen))
    return {
        net: {k: v for k, v in layers.items() if k not in stay[net]}
        for net, layers in tree.items()
    }


@pytest.mark.parametrize("frozen", SETS[1:])
def test_the_clipped_norm_is_that_of_the_trained_alone(frozen):
    params, gradients = filled(0), []
    for seed, size in ((1, 1e-2), (2, 1e-4)):  # above and under the norm of 1
        small, huge = filled(seed, size), filled(seed, 1e3)
        pick = lambda label, a, b: a if label == TRAIN else b
        gradients.append(jax.tree.map(pick, labels(params, frozen), small, huge))
    tx = optim.make_optimizer(OPT, 10, frozen=frozen)
    _, ours, _ = moved_by(tx, params, gradients)
    part = functools.partial(trained_part, frozen=frozen)
    alone = optim.make_optimizer(OPT, 10)
    _, theirs, _ = moved_by(alone, part(params), [part(g) for g in gradients])
    for a, b in zip(jax.tree.leaves(part(ours)), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=0)


def test_with_nothing_frozen_the_state_is_that_of_the_bare_optimiser():
    params = shapes("smoke")
    rate = optim.learning_rate(OPT, 10)
    bare = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    ours = optim.make_optimizer(OPT, 10, frozen="nothing")
    tree = lambda tx: jax.tree.structure(jax.eval_shape(tx.init, params))
    assert tree(ours) == tree(bare)
    assert tree(optim.make_optimizer(OPT, 10, frozen="bottom")) != tree(bare)


def test_the_state_with_frozen_parts_can_be_saved(tmp_path):
    params = filled(0)
    tx = optim.make_optimizer(OPT, 10, frozen="bottom")
    _, _, state = moved_by(tx, params, [filled(1)])
    with Checkpoints(tmp_path / "ckpt", keep=1) as checkpoints:
        checkpoints.save(1, state, {})
        checkpoints.wait()
        found = checkpoints.restore(lambda: tx.init(params))
    assert digest(found.state) == digest(state)
    assert jax.tree.structure(found.state) == jax.tree.structure(state)
