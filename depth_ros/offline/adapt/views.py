# SPDX-License-Identifier: Apache-2.0
"""The images of a recording with camera and pose, and which of them can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError, ConfigError
from depth_ros.pipeline.two_views.poses import Pose4x4

#: distance of two cameras over the distance of the scene. Below the first, depth changes an image
#: less than its noise; above the second, the images show different things. 3 to 20 cm in a room.
LEAST_PARALLAX, WANTED_PARALLAX, MOST_PARALLAX = 0.012, 0.035, 0.1
MOST_TURN_DEG = 15.0  #: between two cameras; beyond it they overlap too little
MOST_PARTNERS = 6
#: between two images of unknown motion, in images of the recording
MOST_APART = 3


@dataclass(frozen=True, slots=True)
class View:
    """An image of a recording.

    Args:
        rgb: (H, W, 3) uint8, undistorted.
        camera: pinhole.
        T_world_camera: (4, 4) float64, pose of the optical frame [m], in the world of its
            recording; None if it is not known.
        name: of the image.
        recording: number of the recording, each of which has its own world.
        number: of the image in the recording, in order of time.

    Raises:
        CameraError: image and camera disagree in size, or the camera is distorted.
    """

    rgb: Tensor
    camera: Camera
    T_world_camera: Pose4x4 | None
    name: str = ''
    recording: int = 0
    number: int = 0

    def __post_init__(self) -> None:
        """Check image and camera."""
        if tuple(self.rgb.shape) != (*self.camera.size, 3) or self.camera.is_distorted:
            raise CameraError(
                f'{self.name} is {tuple(self.rgb.shape)} but its camera is {self.camera}: give '
                'the undistorted image and its intrinsics'
            )


def numbers_of(views: Sequence[View], recording: int) -> list[int]:
    """Numbers of the views of a recording."""
    return [k for k, view in enumerate(views) if view.recording == recording]


def partners(views: Sequence[View], depth_m: float) -> dict[int, tuple[int, ...]]:
    """Views that each view can be compared with, those with the best parallax first.

    Of views without poses, those next to it in time. Views of different recordings are never
    compared.

    Args:
        views: of one scene, or several recordings; those of a recording in order of time.
        depth_m: a typical distance of the scene [m].

    Returns:
        Number of a view -> numbers of at most `MOST_PARTNERS` others; views without any are left
        out.
    """
    found: dict[int, tuple[int, ...]] = {}
    for recording in dict.fromkeys(view.recording for view in views):
        numbers = numbers_of(views, recording)
        poses = [T for k in numbers if (T := views[k].T_world_camera) is not None]
        if len(poses) < len(numbers):
            found |= _neighbours(views, numbers)
            continue
        at = np.stack([T[:3, 3] for T in poses])
        R = np.stack([T[:3, :3] for T in poses]).reshape(-1, 9)
        for k, position, rotation in zip(numbers, at, R, strict=True):
            parallax = np.linalg.norm(at - position, axis=1) / depth_m
            # trace of R_a^T R_b, which is 1 + 2 cos(angle)
            cosine = np.clip((R @ rotation - 1) / 2, -1.0, 1.0)
            fits = (parallax >= LEAST_PARALLAX) & (parallax <= MOST_PARALLAX)
            fits &= np.degrees(np.arccos(cosine)) <= MOST_TURN_DEG
            (others,) = np.nonzero(fits)
            order = np.argsort(np.abs(np.log(parallax[others] / WANTED_PARALLAX)), kind='stable')
            if len(others):
                found[k] = tuple(numbers[other] for other in others[order][:MOST_PARTNERS])
    return found


def _neighbours(views: Sequence[View], numbers: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """The views before and after each one, if they are not too far away in time."""
    found: dict[int, tuple[int, ...]] = {}
    for place, k in enumerate(numbers):
        beside = [*numbers[max(0, place - 1) : place], *numbers[place + 1 : place + 2]]
        others = [o for o in beside if abs(views[o].number - views[k].number) <= MOST_APART]
        if others:
            found[k] = tuple(others)
    return found


def check_partners(
    found: Mapping[int, Sequence[int]], views: Sequence[View], depth_m: float
) -> None:
    """Refuse views of which none can be compared.

    Args:
        found: of `partners`.
        views: as given to it.
        depth_m: as given to it.

    Raises:
        ConfigError: `found` is empty.
    """
    if found:
        return
    least, most = LEAST_PARALLAX * depth_m, MOST_PARALLAX * depth_m
    steps = [
        float(np.linalg.norm(a.T_world_camera[:3, 3] - b.T_world_camera[:3, 3]))
        for a, b in pairwise(views)
        if a.recording == b.recording
        and a.T_world_camera is not None
        and b.T_world_camera is not None
    ]
    shown = f'; from image to image it is {np.median(steps):.3g} m' if steps else ''
    raise ConfigError(
        f'no two of {len(views)} images show the same from places that are {least:.2g} to '
        f'{most:.2g} m apart, within {MOST_TURN_DEG:g} deg: that is the parallax which depth of '
        f'{depth_m:.2g} m needs{shown}. Record more images while the robot drives, without sharp '
        'turns'
    )
