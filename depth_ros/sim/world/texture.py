# SPDX-License-Identifier: Apache-2.0
"""Surface colours, averaged over the footprint of a pixel to prevent aliasing."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDE = 256  #: side of the table of random numbers


@lru_cache(maxsize=4)
def _table(device: str) -> Tensor:
    """Random numbers 0..1, (1, 1, 257, 257); the last row and column repeat the first."""
    table = torch.rand(_SIDE, _SIDE, generator=torch.Generator().manual_seed(20))
    return F.pad(table[None, None], (0, 1, 0, 1), mode='circular').to(device)


def _wrap(x: Tensor) -> Tensor:
    """Remainder modulo `_SIDE`; `torch.remainder` is ten times as slow."""
    return x - (x * (1 / _SIDE)).floor_().mul_(_SIDE)


def _cell(u: Tensor, v: Tensor) -> Tensor:
    """A random number 0..1 for each pair of integers."""
    index = _wrap(u * 7 + v * 61).mul_(_SIDE + 1).add_(_wrap(v * 13 + u * 3))
    return _table(str(u.device)).view(-1).index_select(0, index.long())


def noise(u: Tensor, v: Tensor) -> Tensor:
    """Smooth random field 0..1, (N,), with a period of 256 and a wavelength of about 2."""
    grid = torch.stack((_wrap(u), _wrap(v)), -1)
    grid = grid.mul_(2 / _SIDE).sub_(1)
    return F.grid_sample(_table(str(u.device)), grid[None, None], align_corners=True).view(-1)


def _covered(x: Tensor, width: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Fraction of an interval `width` around `x` between `start` and `end` of cells of size 1."""
    ends = []
    for edge in (x + 0.5 * width, x - 0.5 * width):
        whole = edge.floor()
        part = (edge - whole - start).clamp_(min=0)
        ends.append(whole * (end - start) + torch.minimum(part, end - start))
    return (ends[0] - ends[1]) / width


def paint(m: Tensor, u: Tensor, v: Tensor, fu: Tensor, fv: Tensor) -> Tensor:
    """Reflectance of points, linear RGB.

    Args:
        m: (materials.ROWS, N), material of each point.
        u: (N,) horizontal coordinate on the surface [m].
        v: (N,) other coordinate on the surface, upwards on walls [m].
        fu: (N,) footprint of the pixel along u [m].
        fv: (N,) footprint along v [m].

    Returns:
        (3, N) float32.
    """
    pane, border, other = m[0:3], m[3:6], m[6:9]
    width, height, s0, s1, t0, t1, shift, share, tone, amp, gu, gv, rough, _, _, seed = m[
        9:
    ].unbind(0)
    cu, cv = u / width, v / height
    wu, wv = (fu / width).clamp_(min=4e-3), (fv / height).clamp_(min=4e-3)
    row = cv.floor()
    random_shift = _cell(row, row * 0 + 5)  # for shifts < 0, different for every row
    cu = (
        cu
        + shift.clamp(min=0) * (row - 2 * (row / 2).floor_())
        + (-shift).clamp_(min=0) * random_shift
    )
    column = cu.floor()
    inside = _covered(cu, wu, s0, s1) * _covered(cv, wv, t0, t1)
    sharp = (1.6 - 1.2 * torch.maximum(wu, wv)).clamp_(0, 1)  # 0 where cells are below a pixel
    pick = _cell(column + seed.floor(), row)
    chequer = column + row
    chequer = chequer - 2 * (chequer / 2).floor_()
    board = (share >= 1).float()
    chosen = board * chequer + (1 - board) * (pick < share).float()
    chosen = sharp * chosen + (1 - sharp) * torch.minimum(share, 1 - 0.5 * board)
    bright = 1 + tone * sharp * (_cell(column, row + 40) - 0.5)
    rgb = pane + (other - pane) * chosen
    rgb = border + (rgb * bright - border) * inside
    rgb = rgb * (1 + amp * _waves(u, v, fu, fv, gu, gv, rough, seed))
    return rgb.clamp(0.004, 1.0)


def _waves(
    u: Tensor,
    v: Tensor,
    fu: Tensor,
    fv: Tensor,
    gu: Tensor,
    gv: Tensor,
    rough: Tensor,
    seed: Tensor,
) -> Tensor:
    """Three octaves of noise, -1..1; each fades where a pixel is as large as its wavelength."""
    total, weight, wave = torch.zeros_like(u), torch.ones_like(u), 1.0
    for octave in range(3):
        blur = torch.maximum(fu / gu, fv / gv) / wave
        fade = (1.5 - blur).clamp_(0, 1)
        field = noise(u / (gu * wave) + seed * 3.7, v / (gv * wave) + seed * 5.3 + 17 * octave)
        total += weight * fade * (field - 0.5)
        weight = weight * rough
        wave *= 0.28
    return total * (2.2 / (1 + rough))
