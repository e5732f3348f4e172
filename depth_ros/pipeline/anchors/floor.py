# SPDX-License-Identifier: Apache-2.0
"""Anchors on the floor, from the height of the camera above it.

On a plane the inverse depth is a linear function of the pixel, and so is that which a network
predicts up to a factor and a shift. So the floor is found as a plane of the prediction, and its
depth follows from the height of the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ScaleError
from depth_ros.core.geometry import pixel_rays
from depth_ros.core.types import Anchors, Kind

Array = NDArray[np.float64]

COLUMNS, ROWS = 40, 24  #: grid of pixels that are compared, over the lower part of the image
TRIALS = 200  #: planes tried
TOLERANCE = 0.03  #: largest difference from the plane, as a fraction of the grid's inverse depths
MIN_SHARE = 0.35  #: of the known pixels that must lie on the plane; else none dominates
MAX_TILT_DEG = 10.0  #: largest angle between the plane that is found and the floor
TILT_SIGMA_DEG = 0.5  #: standard deviation of the floor's known direction
LEVEL = np.array((0.0, 1.0, 0.0))  #: down, in the optical frame of a camera that looks ahead


@dataclass(frozen=True, slots=True)
class Floor:
    """The floor as the camera's mounting gives it.

    Args:
        height: of the optical centre above the floor [m].
        down: (3,) unit vector in the optical frame, perpendicular to the floor.
        height_sigma: standard deviation of `height` [m].
    """

    height: float
    down: Array
    height_sigma: float = 0.01


def from_floor(values: Tensor, kind: Kind, camera: Camera, floor: Floor) -> Anchors:
    """Depth of the pixels that show the floor.

    Args:
        values: (H, W), a prediction; NaN where there is none.
        kind: meaning of `values`.
        camera: of `values`, undistorted.
        floor: height and direction.

    Returns:
        The pixels of a grid that lie on the floor.

    Raises:
        ScaleError: no plane with the direction of the floor dominates the lower image.
    """
    u, v, rays = _grid(camera, floor)
    rows, columns = (torch.from_numpy(axis.astype(np.int64)) for axis in (v, u))
    sampled = values[rows.to(values.device), columns.to(values.device)].cpu().numpy()
    sampled = sampled.astype(np.float64)
    with np.errstate(divide='ignore', invalid='ignore'):
        inverse = sampled if kind is Kind.AFFINE_INVERSE else 1 / sampled
    known = np.isfinite(inverse)
    if kind is not Kind.AFFINE_INVERSE:
        known &= inverse > 0
    on_floor = _largest_plane(rays[known], inverse[known], kind, floor.down)
    share = on_floor.sum() / max(len(on_floor), 1)
    if share < MIN_SHARE:
        raise ScaleError(
            f'no floor: a plane with its direction fills {100 * share:.0f} % of the lower image, '
            f'and {100 * MIN_SHARE:.0f} % are needed; anchors.height is of no use in this view'
        )
    u, v, rays = (values[known][on_floor] for values in (u, v, rays))
    towards = rays @ floor.down
    z = floor.height / towards
    relative = np.hypot(floor.height_sigma / floor.height, np.radians(TILT_SIGMA_DEG) / towards)
    return Anchors(u, v, z, z * relative)


def _grid(camera: Camera, floor: Floor) -> tuple[Array, Array, Array]:
    """Columns, rows [px] and rays of pixels in the lower half that look down by 2 deg at least."""
    u = (np.arange(COLUMNS) + 0.5) / COLUMNS * camera.width - 0.5
    v = (1 + (np.arange(ROWS) + 0.5) / ROWS) / 2 * camera.height - 0.5
    u, v = (axis.ravel().round() for axis in np.meshgrid(u, v))
    rays = pixel_rays(u, v, camera)
    below = rays @ floor.down / np.linalg.norm(rays, axis=1) > np.sin(np.radians(2))
    return u[below], v[below], rays[below]


def _largest_plane(rays: Array, inverse: Array, kind: Kind, down: Array) -> NDArray[np.bool_]:
    """(N,) bool, the pixels on the plane in the direction of the floor that most agree with."""
    best = np.zeros(len(inverse), bool)
    if len(inverse) < 3:
        return best
    low, high = np.percentile(inverse, (5, 95))
    tolerance = TOLERANCE * (high - low)
    generator = np.random.default_rng(0)  # the same image has the same floor
    chosen = generator.integers(0, len(inverse), (TRIALS, 3))
    matrices = rays[chosen]
    usable = np.abs(np.linalg.det(matrices)) > 1e-6
    planes = np.linalg.solve(matrices[usable], inverse[chosen[usable]][..., None])[..., 0]
    for candidate in planes[_is_floor(planes, kind, down)]:
        agreeing = np.abs(rays @ candidate - inverse) <= tolerance
        if agreeing.sum() > best.sum():
            best = agreeing
    for _ in range(3):  # with all of its pixels instead of three
        if best.sum() < 3:
            break
        plane = np.asarray(np.linalg.lstsq(rays[best], inverse[best], rcond=None)[0], float)
        if not _is_floor(plane[None], kind, down)[0]:
            break
        best = np.abs(rays @ plane - inverse) <= tolerance
    return best


def _is_floor(planes: Array, kind: Kind, down: Array) -> NDArray[np.bool_]:
    """(N,) bool, whether planes (N, 3), inverse depth = plane . ray, have the floor's direction.

    An unknown shift of the inverse depth changes the third number of a plane; so the other two
    are compared.
    """
    used = slice(0, 2 if kind is Kind.AFFINE_INVERSE else 3)
    planes, down = planes[:, used], down[used]
    lengths = np.linalg.norm(planes, axis=1) * np.linalg.norm(down)
    with np.errstate(divide='ignore', invalid='ignore'):
        cosine = planes @ down / lengths
    is_floor: NDArray[np.bool_] = cosine >= np.cos(np.radians(MAX_TILT_DEG))
    return is_floor
