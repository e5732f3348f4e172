# SPDX-License-Identifier: Apache-2.0
"""A frame around a picture, for tests to which the camera does not matter."""

from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame


def frame_of(rgb):
    """`rgb` (H, W, 3) uint8 with a usual camera."""
    height, width = rgb.shape[:2]
    focal = 0.8 * width
    return Frame(rgb, Camera(width, height, focal, focal, width / 2 - 0.5, height / 2 - 0.5))
