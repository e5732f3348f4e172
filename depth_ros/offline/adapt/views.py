# SPDX-License-Identifier: Apache-2.0
"""The images of a recording with camera and pose, and which of them can be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError
from depth_ros.core.rotations import angle_deg
from depth_ros.pipeline.two_views.keyframes import relative_pose
from depth_ros.pipeline.two_views.poses import Pose4x4

#: distance of two cameras over the distance of the scene. Below the first, depth changes an image
#: less than its noise; above the second, the images show different things. 3 to 20 cm in a room.
LEAST_PARALLAX, WANTED_PARALLAX, MOST_PARALLAX = 0.012, 0.035, 0.1
MOST_TURN_DEG = 15.0  #: between two cameras; beyond it they overlap too little
MOST_PARTNERS = 6


@dataclass(frozen=True, slots=True)
class View:
    """An image of a recording.

    Args:
        rgb: (H, W, 3) uint8, undistorted.
        camera: pinhole.
        T_world_camera: (4, 4) float64, pose of the optical frame [m].
        name: of the image.

    Raises:
        CameraError: image and camera disagree in size, or the camera is distorted.
    """

    rgb: Tensor
    camera: Camera
    T_world_camera: Pose4x4
    name: str = ''

    def __post_init__(self) -> None:
        """Check image and camera."""
        if tuple(self.rgb.shape) != (*self.camera.size, 3) or self.camera.is_distorted:
            raise CameraError(
                f'{self.name} is {tuple(self.rgb.shape)} but its camera is {self.camera}: give '
                'the undistorted image and its intrinsics'
            )


def partners(views: Sequence[View], depth_m: float) -> dict[int, tuple[int, ...]]:
    """Views that each view can be compared with, those with the best parallax first.

    Args:
        views: of one scene.
        depth_m: a typical distance of the scene [m].

    Returns:
        Number of a view -> numbers of at most `MOST_PARTNERS` others; views without any are left
        out.
    """
    found: dict[int, tuple[int, ...]] = {}
    for k, view in enumerate(views):
        rated: list[tuple[float, int]] = []
        for other, partner in enumerate(views):
            T = relative_pose(view.T_world_camera, partner.T_world_camera)
            parallax = float(np.linalg.norm(T[:3, 3])) / depth_m
            fits = (
                LEAST_PARALLAX <= parallax <= MOST_PARALLAX
                and angle_deg(T[:3, :3]) <= MOST_TURN_DEG
            )
            if other != k and fits:
                rated.append((abs(math.log(parallax / WANTED_PARALLAX)), other))
        if rated:
            found[k] = tuple(other for _, other in sorted(rated)[:MOST_PARTNERS])
    return found
