"""Values of a parametrised test that `make test` leaves out and CI runs."""

from __future__ import annotations

import pytest


def further(*values, **kinds):
    """Returns values of a form that another value's test all but covers."""
    return pytest.param(*values, marks=pytest.mark.thorough, **kinds)
