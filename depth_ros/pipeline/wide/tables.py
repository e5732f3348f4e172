# SPDX-License-Identifier: Apache-2.0
"""Where pixels of tiles come from in the image of a lens, and back; computed once for a camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import CV2_SIDE
from depth_ros.core.lens import pixel_grid, project
from depth_ros.pipeline.wide.layout import Tile, layout

Floats = NDArray[np.float64]

#: pixels of the lens at which tiles are compared with each other, at most
SAMPLES = 6000
#: of two tiles, where they are compared: not at their very edges
COMPARED = 0.01
#: beyond the border of the image, where a tile still has depth: pixels at the border are between
#: pixels of the tile on both sides of it [px]
MARGIN = 2.0
ROUNDING = 1e-3  #: of pixels at the border [px]


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """Where the pixels of an image are in another one.

    Args:
        grid: (1, h, w, 2) float32 for `grid_sample` with align_corners.
        fixed_point: the same for `cv2.remap`, which is faster; None where that cannot be used.
    """

    grid: Tensor
    fixed_point: tuple[Any, Any] | None

    @classmethod
    def of(cls, u: Floats, v: Floats, size: tuple[int, int], device: torch.device) -> Sampling:
        """From columns and rows (h, w) [px] in an image of `size` (height, width)."""
        height, width = size
        # what is far outside has no pixel either, and no number that overflows
        x, y = (
            np.nan_to_num(axis, nan=0.0).clip(-side, 2 * side).astype(np.float32)
            for axis, side in ((u, width), (v, height))
        )
        grid = np.stack((2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1), -1)
        by_opencv = device.type == 'cpu' and max(size) < CV2_SIDE
        fixed: Any = cv2.convertMaps(x, y, cv2.CV_16SC2) if by_opencv else None
        return cls(torch.from_numpy(grid)[None].to(device), fixed)

    def image(self, rgb: Tensor) -> Tensor:
        """(h, w, 3) uint8 of an image (H, W, 3) uint8, bilinear; outside is its border."""
        if self.fixed_point is not None:
            pixels: Any = np.ascontiguousarray(rgb.numpy())
            remapped: Any = cv2.remap(
                pixels, *self.fixed_point, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            return torch.from_numpy(remapped)
        sampled = self.maps(rgb.permute(2, 0, 1).to(torch.float32))
        return sampled.round_().to(torch.uint8).permute(1, 2, 0).contiguous()

    def maps(self, maps: Tensor) -> Tensor:
        """(C, h, w) of float maps (C, H, W), bilinear."""
        return F.grid_sample(
            maps[None], self.grid, mode='bilinear', padding_mode='border', align_corners=True
        )[0]


@dataclass(frozen=True, slots=True, eq=False)
class TileTable:
    """One tile of a lens.

    Args:
        tile: it.
        R_lens_tile: (3, 3) float32, that of the tile, on the device.
        source: where its pixels are in the image of the lens.
        seen: (s, s) bool, whether they are there.
        rows: of the image of the lens, that its rectangle has.
        columns: likewise.
        place: where the pixels of that rectangle are in the tile.
        weight: (h, w) float32, of the tile there, 0 outside of it.
        cosine: (h, w) float32, depth in the tile per distance along the ray.
        samples: where the pixels that all tiles are compared at are in the tile.
    """

    tile: Tile
    R_lens_tile: Tensor
    source: Sampling
    seen: Tensor
    rows: slice
    columns: slice
    place: Sampling
    weight: Tensor
    cosine: Tensor
    samples: Sampling


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The tiles of a lens.

    Args:
        tiles: of `layout`.
        ray_z: (H, W) float32, depth along the optical axis per distance along the ray.
        log_cosine: (tiles, N) float32, logarithm of depth in the tile per distance, at the pixels
            that tiles are compared at; NaN outside of the tile.
        pairs: (2, E) int64, tiles that overlap.
    """

    tiles: Sequence[TileTable]
    ray_z: Tensor
    log_cosine: Tensor
    pairs: Tensor


@lru_cache(maxsize=4)
def tables(camera: Camera, tile_fov_deg: float, max_angle_deg: float, device: str) -> Tables:
    """The tables of a lens; cached.

    Args:
        camera: of the lens.
        tile_fov_deg: as `layout` takes it.
        max_angle_deg: as `layout` takes it.
        device: of the tables; a string, as it is part of the cache key.

    Raises:
        CameraError: as `layout`.
    """
    on = torch.device(device)
    tiles = layout(camera, tile_fov_deg, max_angle_deg)
    rays = pixel_grid(camera)
    rays[~(rays[..., 2] >= math.cos(math.radians(max_angle_deg)))] = np.nan
    step = max(1, math.ceil(math.sqrt(camera.width * camera.height / SAMPLES)))
    sampled = rays[::step, ::step].reshape(1, -1, 3)
    weights = np.concatenate([tile.weight(sampled) for tile in tiles])  # (tiles, N)
    log_cosine = np.full(weights.shape, np.nan)
    for k, tile in enumerate(tiles):
        inside = weights[k] > COMPARED
        log_cosine[k, inside] = np.log(tile.depth_and_tangents(sampled)[0][0, inside])
    overlap = (weights > COMPARED).astype(float) @ (weights > COMPARED).astype(float).T
    return Tables(
        [_table(tile, camera, rays, sampled, on) for tile in tiles],
        torch.from_numpy(rays[..., 2].astype(np.float32)).to(on),
        torch.from_numpy(log_cosine.astype(np.float32)).to(on),
        torch.from_numpy(np.stack(np.nonzero(np.triu(overlap, 1)))).to(on),
    )


def _table(
    tile: Tile, camera: Camera, rays: Floats, sampled: Floats, on: torch.device
) -> TileTable:
    own = pixel_grid(tile.camera)
    u, v = project(own @ tile.R_lens_tile.T, camera)
    seen = (u >= -MARGIN) & (u < camera.width + MARGIN)
    seen &= (v >= -MARGIN) & (v < camera.height + MARGIN)
    weight = tile.weight(rays)
    rows, columns = (_extent(weight.max(axis) > 0) for axis in (1, 0))
    cosine, x, y = tile.depth_and_tangents(rays[rows, columns])
    return TileTable(
        tile,
        torch.from_numpy(tile.R_lens_tile.astype(np.float32)).to(on),
        Sampling.of(u, v, camera.size, on),
        torch.from_numpy(seen).to(on),
        rows,
        columns,
        _in_tile(tile, x, y, on),
        torch.from_numpy(weight[rows, columns].astype(np.float32)).to(on),
        torch.from_numpy(np.nan_to_num(cosine).astype(np.float32)).to(on),
        _in_tile(tile, *tile.depth_and_tangents(sampled)[1:], on),
    )


def _in_tile(tile: Tile, x: Floats, y: Floats, on: torch.device) -> Sampling:
    c = tile.camera
    return Sampling.of(c.fx * x + c.cx, c.fy * y + c.cy, c.size, on)


def _extent(used: NDArray[np.bool_]) -> slice:
    """From the first to the last that is used."""
    (indices,) = np.nonzero(used)
    return slice(int(indices[0]), int(indices[-1]) + 1)


@lru_cache(maxsize=4)
def pinhole_sampling(
    camera: Camera, target: Camera, device: str
) -> tuple[Sampling, Tensor, Tensor]:
    """From the image of a lens to a pinhole with the same centre and direction; cached.

    Returns:
        Where its pixels are in the lens, (H, W) bool whether they are there, and (H, W) float32
        depth along the optical axis per distance along the ray.
    """
    rays = pixel_grid(target)
    u, v = project(rays, camera)
    seen = (u >= -ROUNDING) & (u <= camera.width - 1 + ROUNDING)
    seen &= (v >= -ROUNDING) & (v <= camera.height - 1 + ROUNDING)
    on = torch.device(device)
    return (
        Sampling.of(u, v, camera.size, on),
        torch.from_numpy(seen).to(on),
        torch.from_numpy(rays[..., 2].astype(np.float32)).to(on),
    )


def clear_cache() -> None:
    """Free the tables of each camera."""
    for table in (tables, pinhole_sampling, layout):
        table.cache_clear()
