# SPDX-License-Identifier: Apache-2.0
"""Ray directions of the pixels of a camera: the lens distortion, inverted."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from depth_ros.core.camera import Camera
from depth_ros.core.lens import MAX_TANGENT_ANGLE, pixel_grid

Array = NDArray[np.float64]


def ray_directions(camera: Camera) -> tuple[Array, Array]:
    """Ray directions of all pixels of a camera.

    Returns:
        x and y at Z = 1 in the optical frame, (H, W) float64. NaN outside of the image circle:
        beyond the angle at which the distorted radius decreases, or 89 degrees from the axis.
    """
    rays = pixel_grid(camera)
    z = np.where(rays[..., 2] >= math.cos(MAX_TANGENT_ANGLE), rays[..., 2], np.nan)
    return rays[..., 0] / z, rays[..., 1] / z
