# SPDX-License-Identifier: Apache-2.0
"""Cloud filter `voxel`: one point of each cubic cell of space.

It is one of the points that were measured, not their mean. Cells can grow with the distance, as
the error of estimated depth does: their size doubles where that exceeds it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

_BITS = 19  #: of the number of a cell along each axis, without its sign
#: odd numbers of 64 bits that spread the numbers of cells over a table
_MIXES = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93)


def is_kept(points: Tensor, size: float, growth: float = 0.0, *, around: bool = False) -> Tensor:
    """Which points are the last of their cell.

    Args:
        points: (N, >= 3) float32 [m] in the optical frame, finite.
        size: of the cells near the camera [m].
        growth: least size of a cell by its distance along the optical axis, in m per m.
        around: the points are of a wide lens: by their distance from the camera.

    Returns:
        (N,) bool. Rarely a cell keeps more than one point.
    """
    on_cpu = points.device.type == 'cpu'
    kept: Tensor = _kept(points.numpy() if on_cpu else points, size, growth, around)
    return torch.from_numpy(kept) if on_cpu else kept


def _kept(points: Any, size: float, growth: float, around: bool) -> Any:
    """The same for arrays of numpy and torch."""
    lib: Any = torch if isinstance(points, Tensor) else np
    count = len(points)
    if not count:
        return lib.ones(0, dtype=lib.bool_ if lib is np else torch.bool)
    inverse, level = 1 / size, None
    if growth > 0:
        # the size is `size` times a power of two, so that all points of a cell agree on it
        far = lib.sqrt((points[:, :3] ** 2).sum(1)) if around else points[:, 2]
        ratio = far * (growth / size)
        level = lib.ceil(lib.log2(ratio.clip(1.0)))
        inverse = lib.exp2(-level) / size
    x, y, z = (_whole(points[:, k] * inverse) for k in range(3))
    limit = 1 << _BITS
    x, y = (axis.clip(-limit, limit - 1) + limit for axis in (x, y))
    z = z.clip(-limit, limit - 1) + limit  # a wide lens sees what is behind it
    cell = (x << (2 * _BITS + 2)) | (y << (_BITS + 1)) | z
    if level is not None:
        cell = cell * 32 + _whole(level)  # wraps for the farthest cells, which differ anyway
    kept = lib.zeros(count, dtype=lib.bool_ if lib is np else torch.bool)
    if lib is torch:
        kept = kept.to(points.device)
    left = np.arange(count) if lib is np else torch.arange(count, device=points.device)
    for mix in _MIXES:
        last = _last_in_slot(cell, mix)
        own = cell[last] == cell
        kept[left[last == _numbers(cell)]] = True
        # of two cells in one slot one lost it, and tries another
        left, cell = left[~own], cell[~own]
        if not len(left):
            break
    kept[left] = True
    return kept


def _last_in_slot(cell: Any, mix: int) -> Any:
    """(N,) for each point the last one whose cell has the same slot of a table."""
    bits = max(8, len(cell).bit_length() + 2)
    if isinstance(cell, Tensor):
        mixed = cell * (mix - (1 << 64))  # as a signed number; wraps
        slot = (mixed >> (64 - bits)) & ((1 << bits) - 1)
        table = torch.zeros(1 << bits, dtype=torch.int64, device=cell.device)
        return table.scatter_reduce_(0, slot, _numbers(cell), 'amax')[slot]
    slot = (cell.view(np.uint64) * np.uint64(mix)) >> np.uint64(64 - bits)
    slot = slot.view(np.int64)
    last = np.empty(1 << bits, np.int64)
    last[slot] = _numbers(cell)  # of equal slots the last one stays
    return last[slot]


def _numbers(cell: Any) -> Any:
    """0 to N - 1."""
    if isinstance(cell, Tensor):
        return torch.arange(len(cell), device=cell.device)
    return np.arange(len(cell))


def _whole(values: Any) -> Any:
    """Largest integers below, int64."""
    if isinstance(values, Tensor):
        return values.floor().long()
    return np.floor(values).astype(np.int64)
