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
from depth_ros.core.geometry import lens_rays, rays
from depth_ros.core.lens import project, unproject
from depth_ros.core.types import Floor, LensDepth
from depth_ros.pipeline.floor import (
    COLUMNS,
    ROWS,
    grid,
    is_along,
    is_level,
    largest_plane,
    library,
)

LOWEST = 0.4  #: part of the image in which the plane is looked for
#: angles below the horizon in which a wide lens looks for it [deg]: walls begin higher
AROUND_DEG = (30.0, 80.0)
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


def without_ground_around(lens: LensDepth, floor: Floor, above: float, stride: int = 1) -> Tensor:
    """Mark the rays of a wide lens that end on the floor.

    Args:
        lens: what the lens sees.
        floor: height and direction.
        above: as `without_ground`.
        stride: likewise.

    Returns:
        (H, W) float32, `lens.ranges` with NaN on the floor; as they are where no floor is found.
    """
    on_cpu = lens.ranges.device.type == 'cpu'
    values: Any = lens.ranges.numpy() if on_cpu else lens.ranges
    u, v, ray, below = _grid_around(lens.camera, floor)
    plane, is_floor = _largest(values, u, v, ray, below, floor)
    if on_cpu and not is_floor:
        return lens.ranges
    marked = values.copy() if on_cpu else values.clone()
    used = marked[::stride, ::stride]  # shares the memory
    all_rays: Any = lens_rays(lens.camera, str(lens.ranges.device))[::stride, ::stride]
    off = used * ((all_rays.numpy() if on_cpu else all_rays) @ plane) - 1
    on_floor = abs(off) < above * library(values).sqrt((plane * plane).sum())
    if on_cpu:
        np.copyto(used, np.nan, where=on_floor)
        return torch.from_numpy(marked)
    used.masked_fill_(on_floor & is_floor, torch.nan)
    return marked  # type: ignore[no-any-return]


def _grid_around(camera: Camera, floor: Floor) -> tuple[Any, Any, Any, Any]:
    """Pixels all around that look down at the floor, as `pipeline.floor.grid` has those ahead.

    Returns:
        Columns (N,) int64, rows (N,) int64, unit rays (3, N) float64, and (N,) bool whether the
        lens sees them.
    """
    down = floor.down
    across = np.eye(3)[np.abs(down).argmin()]
    first = np.cross(down, across)
    first /= np.linalg.norm(first)
    second = np.cross(down, first)
    dip = np.radians(np.linspace(*AROUND_DEG, ROWS))[:, None]
    turn = 2 * np.pi * np.arange(COLUMNS) / COLUMNS
    sideways = np.cos(turn)[:, None] * first + np.sin(turn)[:, None] * second
    wanted = np.cos(dip)[..., None] * sideways + np.sin(dip)[..., None] * down
    u, v = project(wanted.reshape(-1, 3), camera)
    u, v = np.rint(u), np.rint(v)
    seen = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)  # NaN is not
    u, v = (np.where(seen, axis, 0.0) for axis in (u, v))
    ray = unproject(u, v, camera)
    seen &= np.isfinite(ray[:, 0])
    ray = np.ascontiguousarray(np.where(seen[:, None], ray, down).T)
    return u.astype(np.int64), v.astype(np.int64), ray, seen


def _plane(z: Any, camera: Camera, floor: Floor, normals: Any = None) -> tuple[Any, Any]:
    """The plane (3,) with n . ray = 1 / z on the floor, and () bool whether it is one."""
    return _largest(z, *grid(camera, floor, LOWEST), floor, normals)


def _largest(
    z: Any, u: Any, v: Any, ray: Any, below: Any, floor: Floor, normals: Any = None
) -> tuple[Any, Any]:
    """As `_plane`, of the pixels that `grid` or `_grid_around` gives."""
    lib = library(z)
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
