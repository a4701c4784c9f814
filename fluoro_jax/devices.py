"""Which of its devices JAX computes on."""

from __future__ import annotations

import contextlib
from typing import Any

import jax


def usual_device() -> Any:
    """Returns the device that JAX was told to use, or None where it was told none."""
    told = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    # The name of a platform stands for its first device.
    return jax.local_devices(backend=told)[0] if isinstance(told, str) else told


def current_device() -> Any:
    """Returns the device on which JAX computes here: `usual_device` or its first."""
    return usual_device() or jax.local_devices()[0]


def on_host() -> contextlib.AbstractContextManager:
    """Returns a context in which JAX computes on the host, whatever its devices are.

    Drawing a case is a little arithmetic whose answers the host reads, several times:
    on an accelerator each read would wait for the updates under way.
    """
    try:
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS names the accelerator alone
        return contextlib.nullcontext()
    # Where it is the default already, a context would only compile everything again.
    there = current_device() == host
    return contextlib.nullcontext() if there else jax.default_device(host)
