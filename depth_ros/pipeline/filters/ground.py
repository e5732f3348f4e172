# SPDX-License-Identifier: Apache-2.0
"""Cloud filter `ground`: the floor has no points.

The floor is the plane on which most points of the lower image are, of all planes near the one that
follows from the mounting of the camera: estimated depth is wrong by some factor, and a mounting by
some degrees. Where no plane near there dominates, all points stay: a table or a ramp must not be
lost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import rays
from depth_ros.core.types import Floor
from depth_ros.pipeline.floor import grid, is_along, is_level, largest_plane, library

LOWEST = 0.4  #: part of the image in which the plane is looked for
AGREES = 0.05  #: relative difference of depth of a pixel on the floor
MIN_SHARE = 0.5  #: of the grid's pixels, that must be on the floor
#: angle between the plane that is found and the mounting; smaller than a ramp's
MAX_TILT_DEG = 6.0
MAX_FACTOR = 1.5  #: between the height of the plane and that of the mounting


def without_ground(
    z: Tensor,
    camera: Camera,
    floor: Floor,
    above: float,
    stride: int = 1,
    normals: Tensor | None = None,
) -> Tensor:
    """Mark the pixels of the floor.

    Args:
        z: (H, W) float32 [m], as in `DepthMap`.
        camera: of `z`.
        floor: height and direction.
        above: height above and below the plane up to which a point is floor [m].
        stride: mark every n-th row and column only; the others are not used.
        normals: (H, W, 3) float32, as in `Prediction`; or None. With them the floor is looked for
            among level surfaces only, so that it is also found between boxes and furniture.

    Returns:
        (H, W) float32, NaN on the floor; `z` as it is where no floor is found. Nothing waits for a
        GPU.
    """
    on_cpu = z.device.type == 'cpu'
    values: Any = z.numpy() if on_cpu else z
    known: Any = normals.numpy() if on_cpu and normals is not None else normals
    plane, is_floor = _plane(values, camera, floor, known)
    if on_cpu and not is_floor:
        return z
    x, y = (ray.numpy() if on_cpu else ray for ray in rays(camera, str(z.device)))
    a, b, c = plane
    marked = values.copy() if on_cpu else values.clone()
    used = marked[::stride, ::stride]  # shares the memory
    # n . p = 1 on the plane, which is 1 / |n| from the camera
    off = used * (a * x[:, ::stride] + (b * y[::stride] + c)) - 1
    on_floor = abs(off) < above * library(values).sqrt(a * a + b * b + c * c)
    if on_cpu:
        np.copyto(used, np.nan, where=on_floor)
        return torch.from_numpy(marked)
    used.masked_fill_(on_floor & is_floor, torch.nan)
    return marked  # type: ignore[no-any-return]


def _plane(z: Any, camera: Camera, floor: Floor, normals: Any = None) -> tuple[Any, Any]:
    """The plane (3,) with n . ray = 1 / z on the floor, and () bool whether it is one."""
    lib = library(z)
    u, v, ray, below = grid(camera, floor, LOWEST)
    down: Any = floor.down.astype(np.float32)
    ray = ray.astype(np.float32)
    if lib is torch:
        u, v, ray, below, down = (
            torch.from_numpy(a).to(z.device, non_blocking=True) for a in (u, v, ray, below, down)
        )
    depth = z[v, u]
    known = lib.isfinite(depth) & below
    if normals is not None:
        known = known & is_level(normals[v, u], down)
    one = lib.ones_like(depth)
    lines = ray * (lib.where(known, depth, one) / AGREES)

    def is_possible(planes: Any) -> Any:
        ratio = lib.sqrt((planes * planes).sum(0)) * floor.height
        near = (ratio < MAX_FACTOR) & (ratio > 1 / MAX_FACTOR)
        return near & is_along(planes, down, MAX_TILT_DEG)

    plane, agree = largest_plane(lines, one / AGREES, known, is_possible)
    return plane, agree.sum() > MIN_SHARE * (known.sum() + 1)
