# SPDX-License-Identifier: Apache-2.0
"""The floor: where the parameters say it is, and the plane of an image that is it.

On a plane the inverse depth is a linear function of the viewing ray, n . ray = 1 / z. So is what a
network predicts of it up to a factor and a shift. Hence one search serves both users of the floor:
`anchors.floor`, in the values of any network, and `filters.ground`, in metres. It is random sample
consensus, refined by reweighted least squares, in numpy or in torch on the device of the depth.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.geometry import pixel_rays
from depth_ros.core.types import Floor
from depth_ros.parameters.settings import FloorSettings, Settings

COLUMNS, ROWS = 48, 24  #: grid of pixels that are compared
TRIALS = 192  #: planes through three points each
#: differences from the plane that count a quarter in the steps of refinement, in tolerances
ROBUST = (0.8, 0.6, 0.4)
#: between the floor and the surface of a pixel that may be on it, where the network estimates
#: normals: floors of networks are bent, and a ramp is floor, but the side of a box is not
MAX_LEVEL_DEG = 30.0
MIN_DOWN_DEG = 2.0  #: angle below the horizon of a ray that can meet the floor


def needs_floor(settings: Settings) -> bool:
    """Whether anything needs to know where the floor is."""
    return settings.points.ground == 'drop' or 'height' in settings.anchors.sources


def given_floor(settings: FloorSettings) -> Floor | None:
    """The floor by parameters; None where `floor.height` is 0."""
    if not settings.height:
        return None
    pitch = math.radians(settings.pitch)
    return Floor(settings.height, np.array((0.0, math.cos(pitch), math.sin(pitch))))


def check_floor(settings: Settings) -> None:
    """Refuse a cloud without the floor where no parameter says where it is, and there is no TF.

    Raises:
        ConfigError: with the parameter to set.
    """
    if settings.points.ground == 'drop' and not settings.floor.height:
        raise ConfigError(
            'points.ground is drop but floor.height is 0, and only depth_node and bags have TF: '
            'set it to the height of the camera above the floor [m], and floor.pitch [deg] if it '
            'looks down'
        )


def grid(camera: Camera, floor: Floor, part: float) -> tuple[Any, Any, Any, Any]:
    """Pixels of the lower image, on a grid, N = `ROWS` x `COLUMNS`.

    Args:
        camera: undistorted.
        floor: height and direction.
        part: of the image's height, from the lowest row up.

    Returns:
        Columns (N,) int64, rows (N,) int64, rays (3, N) float64 scaled to Z = 1, and (N,) bool
        whether these can meet the floor.
    """
    columns = (2 * np.arange(COLUMNS) + 1) * camera.width // (2 * COLUMNS)
    rows = np.int64((1 - part + part * (np.arange(ROWS) + 0.5) / ROWS) * camera.height)
    u, v = (axis.ravel() for axis in np.meshgrid(columns, rows))
    rays = np.ascontiguousarray(pixel_rays(u.astype(np.float64), v.astype(np.float64), camera).T)
    below = floor.down @ rays > math.sin(math.radians(MIN_DOWN_DEG)) * np.linalg.norm(rays, axis=0)
    return u, v, rays, below


def largest_plane(lines: Any, values: Any, known: Any, is_possible: Any) -> tuple[Any, Any]:
    """The plane n with lines . n = values that most pixels agree with, of those that are possible.

    Args:
        lines: (3, N) rays, each divided by the tolerance of its value; finite. All arguments are
            arrays, or tensors on one device.
        values: (N,) inverse depths, or what is linear in them, divided by the same; finite.
        known: (N,) bool, whether a pixel counts.
        is_possible: of planes (3, M), which may be the floor, (M,) bool; False for those that are
            not finite.

    Returns:
        The plane (3,), and (N,) bool, the pixels on it within their tolerance: none if it is not
        possible. Nothing waits for a GPU.
    """
    lib = library(lines)
    planes = _through_three(lines, values, known, lib)
    with np.errstate(invalid='ignore', over='ignore'):
        planes = lib.where(is_possible(planes), planes, lib.zeros_like(planes))
    counts = ((abs(planes.T @ lines - values) < 1) & known).sum(1)
    plane = planes[:, counts.argmax()[None]][:, 0]  # a number as index would wait for the GPU
    identity = lib.eye(3, dtype=lines.dtype, **({} if lib is np else {'device': lines.device}))
    for robust in ROBUST:
        weighted = lines * (known / (1 + ((plane @ lines - values) / robust) ** 2) ** 2)
        normal = weighted @ lines.T
        # stays where it is in directions that the pixels do not determine
        ridge = identity * (1e-6 * normal.trace() + 1e-12)
        plane = _solved(normal + ridge, weighted @ values + ridge @ plane)
    agree = known & (abs(plane @ lines - values) < 1)
    return plane, agree & is_possible(plane[:, None])


def is_level(normals: Any, down: Any) -> Any:
    """(N,) bool, whether surfaces with these normals (N, 3) may be part of the floor.

    Args:
        normals: unit vectors towards the camera; NaN is False.
        down: (3,) unit vector perpendicular to the floor.
    """
    return normals @ down < -math.cos(math.radians(MAX_LEVEL_DEG))


def library(values: Any) -> Any:
    """The library of `values`: numpy or torch."""
    return torch if isinstance(values, Tensor) else np


def is_along(planes: Any, down: Any, max_tilt_deg: float) -> Any:
    """(M,) bool, whether planes (d, M) are perpendicular to `down` (d,), up to `max_tilt_deg`."""
    lib = library(planes)
    length = lib.sqrt((planes * planes).sum(0) * (down * down).sum())
    return (down @ planes >= math.cos(math.radians(max_tilt_deg)) * length) & (length > 0)


def _through_three(lines: Any, values: Any, known: Any, lib: Any) -> Any:
    """(3, TRIALS) planes through known pixels; not finite where three do not determine one."""
    if lib is np:
        order: Any = np.argsort(~known, kind='stable')
        chosen = order[_TRIPLES % max(known.sum(), 1)]
    else:
        order = torch.argsort((~known).to(torch.uint8), stable=True)
        triples = torch.from_numpy(_TRIPLES).to(lines.device, non_blocking=True)
        chosen = order[triples % known.sum().clamp(min=1)]
    a, b, c = (lines[:, chosen[k]] for k in range(3))
    ab, bc, ca = _cross(a, b, lib), _cross(b, c, lib), _cross(c, a, lib)
    at_a, at_b, at_c = (values[chosen[k]] for k in range(3))
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        return (at_a * bc + at_b * ca + at_c * ab) / (a * bc).sum(0)


#: the same for each frame, so that the same depth has the same floor
_TRIPLES: NDArray[np.int64] = np.random.default_rng(0).integers(0, COLUMNS * ROWS, (3, TRIALS))


def _cross(d: Any, e: Any, lib: Any) -> Any:
    return lib.stack((
        d[1] * e[2] - d[2] * e[1], d[2] * e[0] - d[0] * e[2], d[0] * e[1] - d[1] * e[0]
    ))  # fmt: skip


def _solved(a: Any, b: Any) -> Any:
    if isinstance(a, Tensor):
        return torch.linalg.solve_ex(a, b)[0]
    return np.linalg.solve(a, b)
