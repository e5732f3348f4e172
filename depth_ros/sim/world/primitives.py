# SPDX-License-Identifier: Apache-2.0
"""The solids of a scene, and their intersection with rays.

Every kind is a table of fields x solids (structure of arrays). The functions take one row for each
field, of any shape that broadcasts with the rays, in float32 or float64: the renderer finds the
nearest solid in float32 and computes its depth in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Vector = Sequence[Tensor]  #: x, y, z, tensors that broadcast
TINY = 1e-13  #: keeps divisions finite; far below the precision of ray directions


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of solid.

    Args:
        fields: names of the rows; the first three are the centre [m].
        span: (fields, origin, direction) -> ray parameters of entry and exit; for a miss entry >
            exit or NaN.
        surface: (fields, point) -> normal, u, v of a point on the surface [m], cos and sin of yaw.
        extent: fields -> half axes, (3, 3, N) axis x coordinate, and (N,) radius around them: a
            hull for culling [m].
        distance: (fields, point) -> signed distance from the surface [m], negative inside.
    """

    fields: tuple[str, ...]
    span: Callable[[Vector, Vector, Vector], tuple[Tensor, Tensor]]
    surface: Callable[[Vector, Vector], tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]]
    extent: Callable[[Tensor], tuple[Tensor, Tensor]]
    distance: Callable[[Vector, Vector], Tensor]


def dot(a: Vector, b: Vector) -> Tensor:
    """Dot product of vectors given by their coordinates."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _local(f: Vector, p: Vector) -> list[Tensor]:
    return [p[i] - f[i] for i in range(3)]


# Box: centre, half sizes, cos and sin of the yaw


def _to_local_axes(f: Vector, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x * f[6] + y * f[7], y * f[6] - x * f[7]


def _box_span(f: Vector, o: Vector, d: Vector) -> tuple[Tensor, Tensor]:
    x, y, z = _local(f, o)
    starts, steps = (*_to_local_axes(f, x, y), z), (*_to_local_axes(f, d[0], d[1]), d[2])
    spans = []
    for half, start, step in zip(f[3:6], starts, steps, strict=True):
        inverse = (step + TINY).reciprocal_()
        middle, reach = start * inverse, half * inverse.abs()
        spans.append((middle.neg().sub_(reach), reach.sub_(middle)))
    (near, far), rest = spans[0], spans[1:]
    for entry, leave in rest:
        near, far = torch.maximum(near, entry), torch.minimum(far, leave)
    return near, far


def _box_surface(f: Vector, p: Vector) -> tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    x, y, z = _local(f, p)
    x, y = _to_local_axes(f, x, y)
    gaps = [h - q.abs() for h, q in zip(f[3:6], (x, y, z), strict=True)]
    on_z = (gaps[2] <= gaps[0]) & (gaps[2] <= gaps[1])
    on_x = (gaps[0] < gaps[1]) & ~on_z
    sx, sy = x.sign() * (on_x & ~on_z), y.sign() * (~on_x & ~on_z)
    normal = [sx * f[6] - sy * f[7], sx * f[7] + sy * f[6], z.sign() * on_z]
    # texture coordinates start at the corner and at the base
    u = torch.where(on_x, y + f[4], x + f[3])
    v = torch.where(on_z, y + f[4], z + f[5])
    return normal, u, v, f[6], f[7]


def _box_extent(f: Tensor) -> tuple[Tensor, Tensor]:
    zero = torch.zeros_like(f[0])
    axes = torch.stack(
        (
            torch.stack((f[3] * f[6], f[3] * f[7], zero)),
            torch.stack((-f[4] * f[7], f[4] * f[6], zero)),
            torch.stack((zero, zero, f[5])),
        )
    )
    return axes, zero


def _box_distance(f: Vector, p: Vector) -> Tensor:
    x, y, z = _local(f, p)
    q = [a.abs() - h for a, h in zip((*_to_local_axes(f, x, y), z), f[3:6], strict=True)]
    outside = sum(a.clamp(min=0) ** 2 for a in q)
    assert isinstance(outside, Tensor)
    inside = torch.maximum(torch.maximum(q[0], q[1]), q[2]).clamp(max=0)
    return outside.sqrt() + inside


# Ball: centre, radius


def _ball_span(f: Vector, o: Vector, d: Vector) -> tuple[Tensor, Tensor]:
    w = _local(f, o)
    square = dot(d, d)
    middle = -dot(w, d) / square
    # by the closest point; b^2 - 4ac would lose all precision far away
    q = [a + middle * b for a, b in zip(w, d, strict=True)]
    half = ((f[3] * f[3] - dot(q, q)) / square).sqrt()
    return middle - half, middle + half


def _ball_surface(f: Vector, p: Vector) -> tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    x, y, z = _local(f, p)
    normal = [x / f[3], y / f[3], z / f[3]]
    return normal, torch.atan2(y, x) * f[3], z, torch.ones_like(x), torch.zeros_like(x)


def _ball_extent(f: Tensor) -> tuple[Tensor, Tensor]:
    return f.new_zeros(3, 3, f.shape[1]), f[3]


def _ball_distance(f: Vector, p: Vector) -> Tensor:
    w = _local(f, p)
    return dot(w, w).sqrt() - f[3]


# Rod (a cylinder with flat ends) and capsule (round ends): centre, unit axis, half length, radius


def _across(f: Vector, a: Vector) -> tuple[Tensor, list[Tensor]]:
    """Component of `a` along the axis, and the perpendicular remainder."""
    along = dot(f[3:6], a)
    return along, [a[i] - along * f[3 + i] for i in range(3)]


def _tube(
    f: Vector, o: Vector, d: Vector
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    """Entry and exit of the infinite cylinder; start and step along its axis; middle; offset."""
    w = _local(f, o)
    start, wide = _across(f, w)
    step, slant = _across(f, d)
    square = dot(slant, slant).clamp_(min=TINY * TINY)
    middle = -dot(wide, slant) / square
    q = [a + middle * b for a, b in zip(wide, slant, strict=True)]
    half = ((f[7] * f[7] - dot(q, q)) / square).sqrt()
    return middle - half, middle + half, start, step, middle, w


def _rod_span(f: Vector, o: Vector, d: Vector) -> tuple[Tensor, Tensor]:
    near, far, start, step, _, _ = _tube(f, o, d)
    inverse = (step + TINY).reciprocal_()
    centre, reach = start * inverse, f[6] * inverse.abs()
    return torch.maximum(near, -centre - reach), torch.minimum(far, reach - centre)


def _capsule_span(f: Vector, o: Vector, d: Vector) -> tuple[Tensor, Tensor]:
    near, far, start, step, _, w = _tube(f, o, d)
    square = dot(d, d)
    ends = []
    for at, sign in ((near, -1), (far, 1)):
        height = start + at * step
        end = height.sign() * f[6]  # beyond an end, the round cap decides
        c = [w[i] - end * f[3 + i] for i in range(3)]
        middle = -dot(c, d) / square
        q = [a + middle * b for a, b in zip(c, d, strict=True)]
        half = ((f[7] * f[7] - dot(q, q)) / square).sqrt()
        ends.append(torch.where(height.abs() <= f[6], at, middle + sign * half))
    return ends[0], ends[1]


def _rod_surface(f: Vector, p: Vector) -> tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    w = _local(f, p)
    along, wide = _across(f, w)
    distance = dot(wide, wide).sqrt()
    cap = (f[6] - along.abs() < f[7] - distance).to(along.dtype)
    side = (1 - cap) / distance.clamp(min=TINY)
    normal = [side * wide[i] + cap * along.sign() * f[3 + i] for i in range(3)]
    u = torch.atan2(w[1], w[0]) * f[7]
    return normal, u, along + f[6], torch.ones_like(u), torch.zeros_like(u)


def _capsule_surface(f: Vector, p: Vector) -> tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    w = _local(f, p)
    along, _ = _across(f, w)
    at = torch.maximum(torch.minimum(along, f[6]), -f[6])
    normal = [(w[i] - at * f[3 + i]) / f[7] for i in range(3)]
    u = torch.atan2(w[1], w[0]) * f[7]
    return normal, u, along + f[6], torch.ones_like(u), torch.zeros_like(u)


def _rod_extent(f: Tensor) -> tuple[Tensor, Tensor]:
    axes = f.new_zeros(3, 3, f.shape[1])
    axes[0] = f[3:6] * f[6]
    return axes, f[7]


def _rod_distance(f: Vector, p: Vector) -> Tensor:
    along, wide = _across(f, _local(f, p))
    side, end = dot(wide, wide).sqrt() - f[7], along.abs() - f[6]
    outside = (side.clamp(min=0) ** 2 + end.clamp(min=0) ** 2).sqrt()
    return outside + torch.maximum(side, end).clamp(max=0)


def _capsule_distance(f: Vector, p: Vector) -> Tensor:
    w = _local(f, p)
    along, wide = _across(f, w)
    beyond = (along.abs() - f[6]).clamp(min=0)
    return (dot(wide, wide) + beyond**2).sqrt() - f[7]


_CENTRE = ('x', 'y', 'z')
_ROUND = (*_CENTRE, 'axis_x', 'axis_y', 'axis_z', 'half_length', 'radius')
KINDS: dict[str, Kind] = {
    'box': Kind(
        (*_CENTRE, 'half_x', 'half_y', 'half_z', 'cos', 'sin'),
        _box_span,
        _box_surface,
        _box_extent,
        _box_distance,
    ),
    'ball': Kind((*_CENTRE, 'radius'), _ball_span, _ball_surface, _ball_extent, _ball_distance),
    'rod': Kind(_ROUND, _rod_span, _rod_surface, _rod_extent, _rod_distance),
    'capsule': Kind(_ROUND, _capsule_span, _capsule_surface, _rod_extent, _capsule_distance),
}
