"""Programs compiled ahead with options of XLA's CPU compiler."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax import compiling
from fluoro_jax.compiling import QUICK, STREAM, QuickToCompile, known_options


def double_plus(x, y):
    return 2.0 * x + y["more"]


def test_answers_are_those_of_the_function_traced_or_not():
    quick = QuickToCompile(jax.jit(double_plus))
    x, y = jnp.arange(3.0), {"more": np.float32(1.0)}
    expected = double_plus(x, y)
    np.testing.assert_array_equal(quick(x, y), expected)
    np.testing.assert_array_equal(jax.jit(lambda x: quick(x, y))(x), expected)
    np.testing.assert_array_equal(jax.vmap(lambda x: quick(x, y))(x), expected)
    assert jax.grad(lambda x: quick(x, y))(1.0) == 2.0
    # constants of a trace are no tracers
    inside = jax.jit(lambda z: z + quick(x, y))(jnp.zeros(3))
    np.testing.assert_array_equal(inside, expected)


def test_one_program_serves_all_values_of_a_kind():
    counted = chex.assert_max_traces(double_plus, n=3)
    quick = QuickToCompile(jax.jit(counted))
    for value in (1.0, 2.0):
        quick(jnp.full(3, value), {"more": jnp.float32(value)})
    assert quick._cache_size() == 1
    quick(jnp.zeros(4), {"more": jnp.float32(0.0)})  # another shape
    on_second = jax.device_put(jnp.zeros(4), jax.devices()[1])
    there = quick(on_second, {"more": jnp.float32(0.0)})
    assert quick._cache_size() == 3 and there.devices() == {jax.devices()[1]}


def test_arguments_of_the_host_go_to_the_usual_device_of_the_moment():
    quick = QuickToCompile(jax.jit(double_plus))
    for device in jax.devices()[:2]:
        with jax.default_device(device):
            found = quick(np.float32(1.0), {"more": np.float32(0.0)})
        assert found.devices() == {device}


def test_a_donated_state_goes_round_without_compiling_again():
    step = jax.pmap(
        lambda state, batch: state + jax.lax.pmean(batch, "batch"),
        axis_name="batch",
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=0,
    )
    quick, count = QuickToCompile(step, "cpu"), len(jax.devices())
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("batch",))
    whole = jax.sharding.NamedSharding(mesh, jax.P())
    state = jax.device_put(jnp.zeros(()), whole)
    for _ in range(3):
        state = quick(state, jnp.ones(count))
    assert float(state) == 3.0 and quick._cache_size() == 1


def test_options_are_for_a_cpu_and_yield_to_xla_flags(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert known_options(QUICK, "gpu") == {}
    assert known_options(QUICK, "cpu") == QUICK
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3")
    assert list(known_options(QUICK, "cpu")) == ["xla_cpu_use_fusion_emitters"]


@pytest.fixture
def forgotten():
    yield
    compiling._is_known.cache_clear()


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch, forgotten):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    unknown = {"xla_no_such_option": True}
    assert "xla_no_such_option" not in known_options(QUICK | unknown, "cpu")
    # Should another jaxlib have dropped it: what replaces it is to be measured.
    assert known_options(STREAM, "cpu") == STREAM
