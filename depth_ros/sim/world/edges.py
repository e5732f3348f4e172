# SPDX-License-Identifier: Apache-2.0
"""Antialiasing of silhouettes without supersampling.

At pixels whose neighbours show another solid, four rays are tested against only these solids; each
gets the colour that the nearest of them has in the neighbouring pixel. This adds a tenth to the
rendering time, while four times as many rays would add 300 %.
"""

from __future__ import annotations

import torch
from torch import Tensor

from depth_ros.sim.world.batch import GROUND, Batch, Rays
from depth_ros.sim.world.primitives import KINDS
from depth_ros.sim.world.trace import Hits

_ROWS, _COLUMNS = (0, 0, 0, -1, 1), (0, -1, 1, 0, 0)  #: the pixel itself and its neighbours
_X, _Y = (-0.25, 0.25, -0.25, 0.25), (-0.25, -0.25, 0.25, 0.25)  #: offsets of the rays [px]


def antialias(colour: Tensor, batch: Batch, rays: Rays, hits: Hits, fx: Tensor) -> Tensor:
    """Antialias the silhouettes in `colour`.

    Args:
        colour: (B, 3, H, W) linear.
        batch: the solids.
        rays: of the pixels.
        hits: first hits of the rays.
        fx: (B,) focal lengths [px].

    Returns:
        (B, 3, H, W).
    """
    owner = rays.to_images(hits.owner).contiguous()
    b, h, w = owner.shape
    edge = torch.zeros_like(owner, dtype=torch.bool)
    horizontal, vertical = owner[:, :, 1:] != owner[:, :, :-1], owner[:, 1:] != owner[:, :-1]
    edge[:, :, 1:] |= horizontal
    edge[:, :, :-1] |= horizontal
    edge[:, 1:] |= vertical
    edge[:, :-1] |= vertical
    pixel = edge.view(-1).nonzero()[:, 0]  # (N,)
    image, row, column = pixel // (h * w), pixel // w % h, pixel % w
    offsets = [torch.tensor(o, device=owner.device) for o in (_ROWS, _COLUMNS)]
    rows = (row[:, None] + offsets[0]).clamp_(0, h - 1)
    columns = (column[:, None] + offsets[1]).clamp_(0, w - 1)
    neighbours = (image[:, None] * h + rows) * w + columns  # (N, 5)
    candidates = owner.view(-1)[neighbours]
    depths = _depths(batch, rays, candidates, image, pixel, fx)  # (N, 5, 4)
    nearest, index = depths.min(1)
    sky = (candidates < 0).to(torch.int8).argmax(1)  # 0, the pixel itself, if there is none
    index = torch.where(nearest < torch.inf, index, sky[:, None])
    source = neighbours.gather(1, index)  # (N, 4)
    flat = colour.transpose(0, 1).reshape(3, -1)
    mean = flat.index_select(1, source.view(-1)).view(3, -1, 4).mean(2)
    return flat.index_copy(1, pixel, mean).view(3, b, h, w).transpose(0, 1)


def _depths(
    batch: Batch, rays: Rays, candidates: Tensor, image: Tensor, pixel: Tensor, fx: Tensor
) -> Tensor:
    """Depth of each candidate along each of the four rays, (N, 5, 4); +Inf for a miss."""
    x, y = (rays.to_images(a.flatten(0, 1)).reshape(-1)[pixel].float() for a in (rays.x, rays.y))
    offset_x, offset_y = (torch.tensor(o, device=fx.device) for o in (_X, _Y))
    x = x[:, None] + offset_x / fx[image, None]
    y = y[:, None] + offset_y / fx[image, None]
    turn = rays.rotation.float()[image, :, :, None]  # (N, 3, 3, 1)
    d = [turn[:, i, 0] * x + turn[:, i, 1] * y + turn[:, i, 2] for i in range(3)]
    depths = torch.full((*candidates.shape, 4), torch.inf, device=fx.device)
    flat, numbers = depths.view(-1, 4), candidates.view(-1)
    # of equal depths the first wins: the colour of the pixel itself before its neighbours'
    bias = 1 + 1e-6 * torch.arange(candidates.shape[1], device=fx.device)
    for kind, primitive in KINDS.items():
        start, count = batch.first[kind], batch.solids[kind].shape[1]
        members = ((numbers >= start) & (numbers < start + count)).nonzero()[:, 0]
        if not len(members):
            continue
        source = members // candidates.shape[1]
        f = batch.solids[kind].index_select(1, numbers[members] - start)
        f[:3] -= rays.origin[image[source]].T
        rows = [r.float()[:, None] for r in f]
        zero = [torch.zeros_like(rows[0])] * 3
        near, far = primitive.span(rows, zero, [a.index_select(0, source) for a in d])
        flat[members] = torch.where((near <= far) & (near > 0), near, torch.inf)
    members = (numbers >= batch.first[GROUND]).nonzero()[:, 0]
    source = members // candidates.shape[1]
    drop = (batch.ground - rays.origin[:, 2]).float()[image[source], None]
    t = drop / d[2].index_select(0, source)
    flat[members] = torch.where(t > 0, t, torch.inf)
    return depths * bias[:, None]
