"""Counts what the host reads from devices: each read waits for what is under way.

JAX's own guard sees none of them on a CPU, where host and device share their memory.
"""

from __future__ import annotations

import contextlib
import threading
from unittest import mock

import jax
import numpy as np
from jax._src import array


@contextlib.contextmanager
def host_reads(refuse=lambda: False):
    """Yields a list that grows by the (thread, devices) of each read of an array.

    Counted are float, int and bool of an array, `tolist`, `device_get`, `np.asarray`
    and `np.array`; other functions of NumPy read a CPU's memory unseen.

    Args:
        refuse: asked at each read; True makes it an AssertionError.
    """
    found = []
    value = array.ArrayImpl._value

    def note(x):
        if isinstance(x, jax.Array) and x._npy_value is None:  # else it was read before
            found.append((threading.current_thread(), x.devices()))
            assert not refuse(), f"the host reads {x.shape} from a device"

    def counted(self):
        note(self)
        return value.fget(self)

    def noted(function):
        def call(x, *args, **kwargs):
            note(x)
            return function(x, *args, **kwargs)

        return call

    with (
        mock.patch.object(array.ArrayImpl, "_value", property(counted)),
        mock.patch.object(np, "asarray", noted(np.asarray)),
        mock.patch.object(np, "array", noted(np.array)),
    ):
        yield found


def read_on(found, device):
    """Returns the number of reads from a device."""
    return sum(device in devices for _, devices in found)
