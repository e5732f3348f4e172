# SPDX-License-Identifier: Apache-2.0
"""First hits of camera rays, and visibility of the lamp; for a batch of images.

Images are divided into tiles. A solid is tested only with tiles whose frustum its hull intersects,
so the work is pairs of (solid, tile) instead of solids x pixels, and a batch of scenes needs few
large operations. Masks are computed by arithmetic where possible: `torch.where` takes the time of
50 multiplications on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from depth_ros.sim.world.batch import GROUND, Batch, Rays
from depth_ros.sim.world.primitives import KINDS, Vector

MISS = 1e20  #: ray parameters beyond this are misses
NEAR = 1e-3  #: near plane of a camera [m]


def _support(axes: Tensor, radius: Tensor, normal: Tensor) -> Tensor:
    """Support of hulls (3, 3, P), (P,) along `normal` (3, P, M), of any length; (P, M)."""
    reach = radius[:, None] * (normal * normal).sum(0).sqrt_()
    for axis in axes:
        reach += (axis[:, :, None] * normal).sum(0).abs_()
    return reach


def _visible_pairs(batch: Batch, kind: str, rays: Rays) -> tuple[Tensor, Tensor]:
    """Pairs of a solid and a tile that may intersect: indices of solids and tiles, (K,) each."""
    f, image = batch.solids[kind], batch.image[kind]
    axes, radius = KINDS[kind].extent(f)
    rotation = rays.rotation[image]  # (P, 3, 3)
    rel = torch.einsum('pij,ip->jp', rotation, f[:3] - rays.origin[image].T)  # optical frame
    axes = torch.einsum('pij,kip->kjp', rotation, axes)
    b, (rows, cols) = len(rays.origin), rays.grid
    keep = []
    for values, row, dims, n in ((rays.x, 0, (1, 3), cols), (rays.y, 1, (2, 3), rows)):
        tiles = values.reshape(b, rows, cols, -1)
        low, high = tiles.amin(dims), tiles.amax(dims)  # (B, n)
        ok = None
        for bound, sign in ((low, 1.0), (high, -1.0)):
            slope = bound[image]  # (P, n)
            normal = slope.new_zeros(3, len(image), n)
            normal[row], normal[2] = sign, -sign * slope
            gap = (normal * rel[:, :, None]).sum(0) + _support(axes, radius, normal)
            ok = gap >= -1e-6 if ok is None else ok & (gap >= -1e-6)
        keep.append(ok)
    front = rel[2] + axes[:, 2].abs().sum(0) + radius > NEAR
    assert keep[0] is not None and keep[1] is not None
    pairs = (keep[1][:, :, None] & keep[0][:, None, :] & front[:, None, None]).nonzero()
    return pairs[:, 0], (image[pairs[:, 0]] * rows + pairs[:, 1]) * cols + pairs[:, 2]


@dataclass(frozen=True, slots=True)
class Hits:
    """First hit of each ray.

    Args:
        z: (B * T, S) float64 [m], exact; +Inf for sky.
        owner: (B * T, S), index of the solid, -1 for sky.
        directions: of the rays in the world frame, three (B * T, S) float64.
        members: for each kind, flat indices of its pixels and the indices of their solids.
    """

    z: Tensor
    owner: Tensor
    directions: list[Tensor]
    members: dict[str, tuple[Tensor, Tensor]]


def first_hits(batch: Batch, rays: Rays) -> Hits:
    """Find the first hit of each ray."""
    exact = [d.flatten(0, 1) for d in rays.directions()]  # (B * T, S)
    d = [a.float() for a in exact]
    tiles = rays.x.shape[1]
    image = torch.arange(len(rays.origin), device=d[0].device).repeat_interleave(tiles)
    drop = (batch.ground - rays.origin[:, 2])[image, None]
    t = drop.float() / d[2]
    best = _key(
        t.nan_to_num_(nan=-1.0, posinf=-1.0, neginf=-1.0), t, batch.first[GROUND] + image[:, None]
    )
    for kind, primitive in KINDS.items():
        if not batch.solids[kind].shape[1]:
            continue
        for solid, tile in _parts(*_visible_pairs(batch, kind, rays)):
            f = batch.solids[kind][:, solid]  # (F, K)
            f[:3] -= rays.origin[image[tile]].T  # relative to the camera: small numbers in float32
            rows = [r.float()[:, None] for r in f]
            zero = [torch.zeros_like(rows[0])] * 3
            near, far = primitive.span(rows, zero, [a.index_select(0, tile) for a in d])
            if kind != 'box':
                near = near.nan_to_num_(nan=torch.inf)
                far = far.nan_to_num_(nan=0.0)  # Inf - Inf would be a NaN of undefined sign
            key = _key(near, far, batch.first[kind] + solid[:, None])
            best.scatter_reduce_(0, tile[:, None].expand_as(key), key, 'amin')
    owner = best & 0xFFFFFFFF
    approximate = (best >> 32).to(torch.int32).view(torch.float32)
    owner[approximate > MISS] = -1
    flat, members = owner.view(-1), {}
    for kind in KINDS:
        start, count = batch.first[kind], batch.solids[kind].shape[1]
        if count:
            pixels = ((flat >= start) & (flat < start + count)).nonzero()[:, 0]
            members[kind] = pixels, flat[pixels] - start
    z = torch.where(owner >= batch.first[GROUND], drop / exact[2], approximate.double())
    z[owner < 0] = torch.inf
    _refine(batch, rays.origin[image], exact, members, z)
    return Hits(z, owner, exact, members)


def _parts(solid: Tensor, tile: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Split the pairs into parts that fit in the cache of a CPU, or the memory of a GPU."""
    size = 1 << 17 if solid.is_cuda else 1 << 10
    return zip(torch.split(solid, size), torch.split(tile, size), strict=True)


def _key(near: Tensor, far: Tensor, number: Tensor) -> Tensor:
    """Integers that sort as (depth, index of the solid); misses come last."""
    wrong = (near - far).clamp_(min=0).add_((NEAR - near).clamp_(min=0))
    near = near.add(wrong, alpha=1e30)
    # the bits of positive floats sort like integers
    return near.view(torch.int32).to(torch.int64).mul_(1 << 32).add_(number)


def _refine(
    batch: Batch,
    origin: Tensor,
    d: list[Tensor],
    members: dict[str, tuple[Tensor, Tensor]],
    z: Tensor,
) -> None:
    """Recompute the depth `z` of each hit in float64, in place."""
    flat, side = z.view(-1), z.shape[1]
    for kind, (pixels, solid) in members.items():
        f = batch.solids[kind].index_select(1, solid)
        f[:3] -= origin.index_select(0, pixels // side).T
        zero = [torch.zeros_like(f[0])] * 3
        steps = [a.reshape(-1).index_select(0, pixels) for a in d]
        near, _ = KINDS[kind].span(list(f), zero, steps)
        approximate = flat[pixels]
        # where only float32 hits a silhouette, its depth is kept
        flat[pixels] = torch.where(near.isfinite(), near, approximate)


def visible(
    batch: Batch, light: Tensor, radius: Tensor, points: list[Tensor], facing: Tensor, at: Vector
) -> Tensor:
    """Visibility of the lamp from points.

    Args:
        batch: the solids.
        light: (B, 3) float32, position of the lamp of each image [m].
        radius: (B,) float32, radius of the lamp [m].
        points: three (B * T, S) float32 [m].
        facing: (B * T, S) bool, points to test; others are not visible.
        at: three (B * T, S) float32, point of the lamp to which each shadow ray goes [m].

    Returns:
        (B * T, S) float32, 1 visible and 0 occluded.
    """
    b = len(light)
    tiles = len(facing) // b
    image = torch.arange(b, device=light.device).repeat_interleave(tiles)
    w = light[image, 2, None] - points[2]  # distance below the lamp
    far = 1e9 * (~(facing & (w > 0.05))).float()
    w = w.clamp(min=0.05)
    bounds = []
    for i in (0, 1):  # bounds of the tile in a projection from the lamp, looking down
        slope = (points[i] - light[image, i, None]) / w
        bounds += [(slope + far).amin(1), (slope - far).amax(1)]
    floor = (points[2] + far).amin(1)
    some = (bounds[0] < 1e8).view(b, tiles)
    blocked = torch.zeros_like(w)
    goal = [at[i] - points[i] for i in range(3)]
    for kind, primitive in KINDS.items():
        chosen = batch.casts_shadow[kind]
        if not len(chosen):
            continue
        f = batch.solids[kind].index_select(1, chosen).float()
        owner = batch.image[kind].index_select(0, chosen)
        axes, hull = primitive.extent(f)
        hull = hull + 0.01  # float32, and a sun that is 3 km away
        rise = axes[:, 2].abs().sum(0) + hull
        top, low, height = f[2] + rise, floor.view(b, tiles)[owner], light[owner, 2]
        # rays to the rim of the lamp deviate from those to its centre, increasingly with height
        part = ((top[:, None] - low) / (height[:, None] - low).clamp(min=0.05)).clamp_(0, 1)
        margin = hull[:, None] + radius[owner, None] * part
        rel = f[:3] - light[owner].T  # (3, P)
        keep = some[owner] & (top[:, None] > low) & (f[2] - rise < height)[:, None]
        for i, bound, sign in zip((0, 0, 1, 1), bounds, (1.0, -1.0, 1.0, -1.0), strict=True):
            slope = bound.view(b, tiles)[owner]  # (P, T)
            gap = sign * (rel[i, :, None] + slope * rel[2, :, None])
            gap += margin * (1 + slope * slope).sqrt_()
            for axis in axes if kind == 'box' else axes[:1]:
                gap += (axis[i, :, None] + slope * axis[2, :, None]).abs_()
            keep &= gap > 0
        pairs = keep.nonzero()
        for solid, tile in _parts(pairs[:, 0], owner[pairs[:, 0]] * tiles + pairs[:, 1]):
            rows = [r[:, None] for r in f.index_select(1, solid)]
            start = [p.index_select(0, tile) for p in points]
            near, exit_ = primitive.span(rows, start, [g.index_select(0, tile) for g in goal])
            # length of the ray, between parameters 0 and 1, inside of the solid
            inside = exit_.clamp_(max=1).sub_(near.clamp_(min=0)).clamp_(min=0)
            blocked.index_add_(0, tile, inside if kind == 'box' else inside.nan_to_num_(nan=0.0))
    return (blocked == 0).float()
