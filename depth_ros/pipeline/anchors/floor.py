# SPDX-License-Identifier: Apache-2.0
"""Anchors on the floor, from the height of the camera above it.

The floor is found as a plane of the prediction, which need not be in metres. Its depth follows
from the height of the camera.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ScaleError
from depth_ros.core.types import Anchors, Floor, Kind
from depth_ros.pipeline.floor import grid, is_along, is_level, largest_plane

LOWEST = 0.5  #: part of the image in which the plane is looked for
TOLERANCE = 0.03  #: largest difference from the plane, as a fraction of the grid's inverse depths
MIN_SHARE = 0.35  #: of the known pixels that must lie on the plane; else none dominates
#: largest angle between the plane that is found and the floor: one that is not in metres is bent
MAX_TILT_DEG = 10.0
TILT_SIGMA_DEG = 0.5  #: standard deviation of the floor's known direction


def from_floor(
    values: Tensor, kind: Kind, camera: Camera, floor: Floor, normals: Tensor | None = None
) -> Anchors:
    """Depth of the pixels that show the floor.

    Args:
        values: (H, W), a prediction; NaN where there is none.
        kind: meaning of `values`.
        camera: of `values`, undistorted.
        floor: height and direction.
        normals: (H, W, 3) float32, as in `Prediction`; or None. With them only level surfaces may
            be floor.

    Returns:
        The pixels of a grid that lie on the floor.

    Raises:
        ScaleError: no plane with the direction of the floor dominates the lower image.
    """
    u, v, rays, below = grid(camera, floor, LOWEST)
    rows, columns = (torch.from_numpy(axis).to(values.device) for axis in (v, u))
    sampled = values[rows, columns].cpu().numpy().astype(np.float64)
    with np.errstate(divide='ignore', invalid='ignore'):
        inverse = sampled if kind is Kind.AFFINE_INVERSE else 1 / sampled
    known = np.isfinite(inverse) & below
    if kind is not Kind.AFFINE_INVERSE:
        known &= inverse > 0
    if normals is not None:
        known &= is_level(normals[rows, columns].cpu().numpy(), floor.down)
    # an unknown shift of the inverse depth changes the third number of a plane
    compared = slice(0, 2 if kind is Kind.AFFINE_INVERSE else 3)

    def is_possible(planes: Any) -> Any:
        return is_along(planes[compared], floor.down[compared], MAX_TILT_DEG)

    low, high = np.percentile(inverse[known], (5, 95)) if known.any() else (0.0, 0.0)
    tolerance = TOLERANCE * (high - low) or np.inf  # what is the same everywhere has no slope
    lines, of_pixels = rays / tolerance, np.where(known, inverse, 0.0) / tolerance
    _, on_floor = largest_plane(lines, of_pixels, known, is_possible)
    share = on_floor.sum() / max(known.sum(), 1)
    if share < MIN_SHARE:
        raise ScaleError(
            f'no floor: a plane with its direction fills {100 * share:.0f} % of the lower image, '
            f'and {100 * MIN_SHARE:.0f} % are needed; the height is of no use in this view'
        )
    towards = floor.down @ rays[:, on_floor]
    z = floor.height / towards
    relative = np.hypot(floor.height_sigma / floor.height, np.radians(TILT_SIGMA_DEG) / towards)
    u, v = (axis[on_floor].astype(np.float64) for axis in (u, v))
    return Anchors(u, v, z, z * relative)
