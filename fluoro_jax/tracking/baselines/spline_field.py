"""Displacement fields of a volume by B-splines, and how far from smooth they are.

    u_c(x, y, z) = sum_kji  a_ckji B_k(z) B_j(y) B_i(x)        c = x, y, z

with B the B-splines of one degree on even knots, the outermost at the outermost voxels.
The energies are means over voxels of squared derivatives, which are quadratic forms of
the coefficients a by one matrix an axis (`grams`); no derivative is drawn on voxels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy.interpolate import BSpline

from fluoro_jax.errors import refuse
from fluoro_jax.geometry import Grid

Array = jax.Array
# Orders of the derivative along (z, y, x), and how often it occurs.
GRADIENT = (((1, 0, 0), 1.0), ((0, 1, 0), 1.0), ((0, 0, 1), 1.0))
BENDING = (
    *(((2, 0, 0), 1.0), ((0, 2, 0), 1.0), ((0, 0, 2), 1.0)),
    *(((1, 1, 0), 2.0), ((1, 0, 1), 2.0), ((0, 1, 1), 2.0)),
)
Terms = tuple[tuple[tuple[int, int, int], float], ...]


@struct.dataclass
class SplineBasis:
    """The B-splines of every axis of a volume, in the order (z, y, x).

    Attributes:
        values: `[n, k]` of each of k splines at each of n voxels.
        grams: by order of the derivative, 0 up to the degree or 2, `[k, k]` mean over
            voxels of the products of derivatives, mm^(-2 order).
    """

    values: tuple[Array, Array, Array]
    grams: tuple[tuple[Array, ...], tuple[Array, ...], tuple[Array, ...]]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the coefficients, `[3, K, J, I]`."""
        k, j, i = (int(v.shape[1]) for v in self.values)
        return 3, k, j, i


def make_basis(
    shape: tuple[int, ...], grid: Grid, *, knots: tuple[int, ...], degree: int
) -> SplineBasis:
    """Returns the B-splines of a volume.

    Args:
        shape: `[Z, Y, X]` of the volume.
        grid: of its voxels.
        knots: along (z, y, x), 2 or more; splines are `degree - 1` more.
        degree: 1 (piecewise linear) or 3 (cubic).

    Raises:
        UserError: for fewer than 2 knots, or no whole number of them.
    """
    if not all(type(count) is int and count >= 2 for count in knots):
        refuse(
            f"knots = {knots}",
            "whole numbers from 2 on",
            why="the outermost knots lie at the outermost voxels",
            fix="leave them at their defaults",
        )
    axes = [
        _axis(count, float(grid.spacing_mm[2 - axis]), knots[axis], degree)
        for axis, count in enumerate(shape)
    ]
    values, grams = zip(*axes, strict=True)
    return SplineBasis(values, grams)


def _axis(
    count: int, spacing_mm: float, knots: int, degree: int
) -> tuple[Array, tuple[Array, ...]]:
    """Returns values `[n, k]` of the splines of an axis, and their grams."""
    length_mm = (count - 1) * spacing_mm
    step_mm = length_mm / (knots - 1)
    places = step_mm * np.arange(-degree, knots + degree)
    splines = BSpline(places, np.eye(knots + degree - 1), degree)
    # The last voxel is on a knot, where rounding must not put it outside.
    at_mm = np.clip(spacing_mm * np.arange(count), 0.0, length_mm)
    drawn = [splines(at_mm, nu=order) for order in range(min(degree, 2) + 1)]
    array = lambda value: jnp.asarray(value, jnp.float32)
    return array(drawn[0]), tuple(array(d.T @ d / count) for d in drawn)


def field_mm(basis: SplineBasis, coefficients: Array) -> Array:
    """Returns u on the voxels, `[3, Z, Y, X]` mm, of coefficients `[3, K, J, I]` mm."""
    z, y, x = basis.values
    # The axis that grows a field least comes first.
    return jnp.einsum("zk,yj,xi,ckji->czyx", z, y, x, coefficients, optimize="optimal")


def energy(basis: SplineBasis, coefficients: Array, terms: Terms) -> Array:
    """Returns the mean over voxels of squared derivatives of a field, [].

    Args:
        basis: its splines.
        coefficients: `[3, K, J, I]` mm.
        terms: `GRADIENT`, the sum of (du_c / dx_a)^2 [1], which is 0 for a constant
            field; or `BENDING`, that of (d2u_c / dx_a dx_b)^2 [1/mm^2], which is 0 for
            one that is linear in place.
    """
    total = jnp.zeros(())
    for orders, often in terms:
        z, y, x = (grams[n] for grams, n in zip(basis.grams, orders, strict=True))
        applied = jnp.einsum("ckji,kn,jm,il->cnml", coefficients, z, y, x)
        total = total + often * jnp.sum(applied * coefficients)
    return total
