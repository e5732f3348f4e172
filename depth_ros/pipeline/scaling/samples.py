# SPDX-License-Identifier: Apache-2.0
"""What a fit needs of a map and an image: a few hundred pixels, brought to the host at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.types import Anchors

#: anchors that a fit uses; of more, one for each cell of the picture
MOST = 400
#: cells of the small map that a field of scale is computed on
CELLS = 1200

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Places:
    """Pixels of an image.

    Args:
        values: (N,) float64, the network's.
        uv: (N, 2) float64, in units of the square root of the image's area.
        rgb: (N, 3) float64, 0..1.
    """

    values: Floats
    uv: Floats
    rgb: Floats

    def __len__(self) -> int:
        """Number of pixels."""
        return len(self.values)

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Places:
        """Some of them."""
        return Places(self.values[which], self.uv[which], self.rgb[which])


@dataclass(frozen=True, slots=True)
class Samples:
    """Anchors with the network's values there, and a small version of the map.

    Args:
        places: of the anchors.
        log_z: (N,) float64, logarithm of their depth [m].
        sigma: (N,) float64, standard deviation of `log_z`.
        grid: places of the centres of cells over the whole image, row by row.
        shape: rows and columns of the grid.
        dropped: number of anchors outside the image, or where the network has no value.
    """

    places: Places
    log_z: Floats
    sigma: Floats
    grid: Places
    shape: tuple[int, int]
    dropped: int = 0

    def __len__(self) -> int:
        """Number of anchors."""
        return len(self.log_z)

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Samples:
        """Some of the anchors, with the same grid."""
        return replace(
            self, places=self.places[which], log_z=self.log_z[which], sigma=self.sigma[which]
        )


def sample(values: Tensor, rgb: Tensor, anchors: Anchors, *, positive: bool) -> Samples:
    """Read a map and an image at the anchors and on a coarse grid.

    On a GPU this waits for the network, and only these pixels travel.

    Args:
        values: (H, W) float32, the network's.
        rgb: (H, W, 3) uint8, on the same device.
        anchors: in this image.
        positive: only positive values are valid.
    """
    height, width = values.shape
    u, v = np.rint(anchors.u), np.rint(anchors.v)
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)  # NaN is not
    u, v = u[inside].astype(np.int64), v[inside].astype(np.int64)
    shape = _grid_shape(height, width)
    rows, columns = (
        ((np.arange(n) + 0.5) * size / n).astype(np.int64)
        for n, size in zip(shape, (height, width), strict=True)
    )
    all_u = np.concatenate([u, np.tile(columns, shape[0])])
    all_v = np.concatenate([v, np.repeat(rows, shape[1])])
    index = torch.from_numpy(all_v * width + all_u).to(values.device)
    read = torch.cat(
        (values.reshape(-1)[index][:, None], rgb.reshape(-1, 3)[index].to(values.dtype)), 1
    )
    table = read.cpu().numpy().astype(np.float64)
    uv = np.stack([all_u, all_v], 1) / np.sqrt(height * width)
    everything = Places(table[:, 0], uv, table[:, 1:] / 255)
    n = len(u)
    found, grid = everything[np.arange(n)], everything[np.arange(n, len(uv))]
    known = np.isfinite(found.values)
    if positive:
        known &= found.values > 0
    z, sigma = anchors.z[inside][known], anchors.sigma[inside][known]
    dropped = len(anchors) - int(known.sum())
    return Samples(found[known], np.log(z), sigma / z, grid, shape, dropped)


def thin(samples: Samples, ratio: Floats) -> Samples:
    """About `MOST` anchors at most, spread over the picture.

    Args:
        samples: of any number.
        ratio: (N,) float64, logarithm of true depth / depth by the network, up to a constant; of
            the anchors in a cell the one with the median ratio remains.
    """
    if len(samples) <= MOST:
        return samples
    for finer in (4, 3, 2, 1.4):
        chosen = _middles(samples.places.uv, ratio, finer * MOST)
        if len(chosen) <= MOST:
            return samples[chosen]
    return samples[_middles(samples.places.uv, ratio, MOST)]


def _middles(uv: Floats, ratio: Floats, cells: float) -> NDArray[np.int64]:
    """Of each of about so many cells, the index of the anchor with the median ratio."""
    # cells of the anchors' own extent: rings of a LiDAR are rows, a scan is one
    extent = np.maximum(np.ptp(uv, axis=0), 0.02)
    side = np.sqrt(np.prod(extent) / cells)
    place = np.floor((uv - uv.min(axis=0)) / side).astype(np.int64)
    cell = place[:, 0] * (place[:, 1].max() + 1) + place[:, 1]
    order = np.lexsort((ratio, cell))
    _, first, count = np.unique(cell[order], return_index=True, return_counts=True)
    # of an even number the lower and the upper middle in turn, or the scale would be biased
    middle = first + (count - 1 + np.arange(len(count)) % 2) // 2
    return np.sort(order[middle])


def _grid_shape(height: int, width: int) -> tuple[int, int]:
    side = np.sqrt(height * width / CELLS)
    return max(1, min(height, round(height / side))), max(1, min(width, round(width / side)))
