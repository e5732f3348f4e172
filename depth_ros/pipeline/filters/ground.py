# SPDX-License-Identifier: Apache-2.0
"""Cloud filter `ground`: the floor has no points.

The floor is the plane on which most points of the lower image are, of all planes near the one that
follows from the height and pitch of the camera: estimated depth is wrong by some factor, and a
mounting by some degrees. It is found by random sample consensus and refined by reweighted least
squares. Where no plane near there dominates, all points stay: a table or a ramp must not be lost.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import rays

COLUMNS, ROWS = 48, 24  #: grid of pixels that are compared, over the lowest 40 % of the image
TRIALS = 192  #: planes through three points each
#: relative difference of depth from the plane that counts a quarter, in the steps of refinement
ROBUST = (0.04, 0.03, 0.02)
AGREES = 0.05  #: relative difference of depth of a pixel on the floor
MIN_SHARE = 0.5  #: of the grid's pixels, that must be on the floor
MAX_TILT_DEG = 6.0  #: angle between the plane that is found and the mounting
MAX_FACTOR = 1.5  #: between the height of the plane and that of the mounting


def without_ground(
    z: Tensor, camera: Camera, height: float, pitch: float, above: float, stride: int = 1
) -> Tensor:
    """Mark the pixels of the floor.

    Args:
        z: (H, W) float32 [m], as in `DepthMap`.
        camera: of `z`.
        height: of the camera above the floor [m].
        pitch: angle by which the camera looks down [rad].
        above: height above and below the plane up to which a point is floor [m].
        stride: mark every n-th row and column only; the others are not used.

    Returns:
        (H, W) float32, NaN on the floor; `z` as it is where no floor is found. Nothing waits for a
        GPU.
    """
    lib: Any = np if z.device.type == 'cpu' else torch
    values: Any = z.numpy() if lib is np else z
    x, y = (ray.numpy() if lib is np else ray for ray in rays(camera, str(z.device)))
    plane, is_floor = _floor(values, x, y, height, pitch)
    if lib is np and not is_floor:
        return z
    a, b, c = plane
    marked = values.copy() if lib is np else values.clone()
    used = marked[::stride, ::stride]  # shares the memory
    # n . p = 1 on the plane, which is 1 / |n| from the camera
    off = used * (a * x[:, ::stride] + (b * y[::stride] + c)) - 1
    on_floor = abs(off) < above * lib.sqrt(a * a + b * b + c * c)
    if lib is np:
        np.copyto(used, np.nan, where=on_floor)
        return torch.from_numpy(marked)
    used.masked_fill_(on_floor & is_floor, torch.nan)
    return marked  # type: ignore[no-any-return]


def _floor(z: Any, x: Any, y: Any, height: float, pitch: float) -> tuple[Any, Any]:
    """The plane (3,) with n . ray = 1 / z on the floor, and () bool whether it is one."""
    lib: Any = torch if isinstance(z, Tensor) else np
    down: Any = np.array((0.0, math.cos(pitch), math.sin(pitch)), np.float32)
    rows, columns = z.shape
    v: Any = np.int64((0.6 + 0.4 * (np.arange(ROWS) + 0.5) / ROWS) * rows)
    u: Any = (2 * np.arange(COLUMNS) + 1) * columns // (2 * COLUMNS)
    if lib is torch:
        v, u, down = (torch.from_numpy(a).to(z.device, non_blocking=True) for a in (v, u, down))
    depth = z[v[:, None], u].reshape(-1)
    one = lib.ones_like(depth)
    lines = [lib.broadcast_to(r, (ROWS, COLUMNS)).reshape(-1) for r in (x[:, u], y[v])]
    ray = lib.stack((*lines, one))  # (3, N)
    # those that look down by 2 deg at least
    known = lib.isfinite(depth) & (down @ ray > 0.035)
    points = ray * lib.where(known, depth, one)  # n . p = 1 on a plane
    planes = _through_three(points, known, lib)
    possible = _is_possible(planes, down, height, lib) & lib.isfinite(planes).all(0)
    planes = lib.where(possible, planes, lib.zeros_like(planes))
    counts = ((abs(planes.T @ points - 1) < AGREES) & known).sum(1)
    plane = planes[:, counts.argmax()]
    ridge = (lib.eye(3) if lib is np else torch.eye(3, device=z.device)) * 1e-6
    for robust in ROBUST:
        weighted = points * (known / (1 + ((plane @ points - 1) / robust) ** 2) ** 2)
        plane = _solved(weighted @ points.T + ridge, weighted @ one + ridge @ plane)
    agree = known & (abs(plane @ points - 1) < AGREES)
    share = agree.sum() / (known.sum() + 1)
    return plane, (share > MIN_SHARE) & _is_possible(plane, down, height, lib)


def _through_three(points: Any, known: Any, lib: Any) -> Any:
    """(3, TRIALS) planes through known points; not finite if these are on a line."""
    if lib is np:
        order: Any = np.argsort(~known, kind='stable')
        chosen = order[_TRIPLES % max(known.sum(), 1)]
    else:
        order = torch.argsort((~known).to(torch.uint8), stable=True)
        triples = torch.from_numpy(_TRIPLES).to(points.device, non_blocking=True)
        chosen = order[triples % known.sum().clamp(min=1)]
    first, second, third = (points[:, chosen[k]] for k in range(3))
    d, e = second - first, third - first
    normal = lib.stack((
        d[1] * e[2] - d[2] * e[1], d[2] * e[0] - d[0] * e[2], d[0] * e[1] - d[1] * e[0]
    ))  # fmt: skip
    with np.errstate(divide='ignore', invalid='ignore'):
        planes = normal / (normal * first).sum(0)
    return planes


#: the same for each frame, so that the same depth has the same floor
_TRIPLES = np.random.default_rng(0).integers(0, COLUMNS * ROWS, (3, TRIALS))


def _is_possible(planes: Any, down: Any, height: float, lib: Any) -> Any:
    """Whether planes (3, ...) are near the mounting."""
    length = lib.sqrt((planes * planes).sum(0))
    ratio = length * height
    with np.errstate(invalid='ignore'):
        near = (ratio < MAX_FACTOR) & (ratio > 1 / MAX_FACTOR)
        return near & (down @ planes > math.cos(math.radians(MAX_TILT_DEG)) * length)


def _solved(a: Any, b: Any) -> Any:
    if isinstance(a, Tensor):
        return torch.linalg.solve_ex(a, b)[0]
    return np.linalg.solve(a, b).astype(np.float32)
