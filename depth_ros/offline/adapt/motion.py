# SPDX-License-Identifier: Apache-2.0
"""How the camera of a recording moved, and which of its images show that best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from depth_ros.core.errors import ConfigError
from depth_ros.core.rotations import turn_deg
from depth_ros.pipeline.two_views.poses import Pose4x4

LEAST_EXTENT_M = 0.01  #: with all positions closer together the camera stood
LEAST_TURN_DEG = 5.0  #: above it the camera turned
ROOM_M = 2.5  #: typical distance in a room
#: images that differ by less than both are one: over the distance of the scene, and a turn
SAME_PLACE, SAME_DIRECTION_DEG = 0.004, 0.5  # 1 cm in a room
COARSER = (1.0, 1.5, 2.0, 3.0, 4.0)  #: multiples of these that are tried for fewer images
#: a step is a jump above so many times the speed of this share of all steps, and this length
TOO_FAST, USUAL, LEAST_JUMP_M = 4.0, 0.9, 0.03
STEP_NOISE_M, FEWEST_STEPS = 1e-3, 10
RUN = 5  #: successive images that are kept together where the others are left out


@dataclass(frozen=True, slots=True)
class Motion:
    """How a camera moved.

    Args:
        images: number of its poses.
        path_m: length of its way [m].
        extent_m: diagonal of the box around all positions [m].
        turn_deg: largest turn between the first pose and another [deg].
        step_m: median distance of successive positions [m].
        step_deg: median turn between successive poses [deg].
    """

    images: int
    path_m: float
    extent_m: float
    turn_deg: float
    step_m: float
    step_deg: float

    @classmethod
    def of(cls, poses: Sequence[Pose4x4]) -> Motion:
        """Of poses T_world_camera in order of time, at least one."""
        at = np.stack([T[:3, 3] for T in poses])
        steps = np.linalg.norm(np.diff(at, axis=0), axis=1)
        turns = [turn_deg(a, b) for a, b in pairwise(poses)]
        return cls(
            len(poses),
            float(steps.sum()),
            float(np.linalg.norm(np.ptp(at, axis=0))),
            max(turn_deg(poses[0], T) for T in poses),
            float(np.median(steps)) if len(steps) else 0.0,
            float(np.median(turns)) if turns else 0.0,
        )

    def check(self, name: str) -> None:
        """Refuse a camera that did not move from its place.

        Args:
            name: of the recording.

        Raises:
            ConfigError: images from one place have no depth.
        """
        remedy = (
            'record while the robot drives or is carried, with images 3 to 20 cm apart (in a room)'
        )
        if self.images < 2:
            raise ConfigError(f'{name} has {self.images} image with a pose: {remedy}')
        if self.extent_m >= LEAST_EXTENT_M:
            return
        places = f'the positions of its {self.images} images are within {_cm(self.extent_m)}'
        if self.turn_deg < LEAST_TURN_DEG:
            raise ConfigError(
                f'{name}: the camera did not move, {places} and {self.turn_deg:.1f} deg. Depth '
                f'follows from motion only: {remedy}'
            )
        raise ConfigError(
            f'{name}: the camera turned by {self.turn_deg:.0f} deg on the spot, {places}. A turn '
            f'moves near and far things alike, so it has no depth: {remedy}'
        )

    def __str__(self) -> str:
        """In one line."""
        return (
            f'{self.images} poses over {self.path_m:.2f} m, {_cm(self.step_m)} and '
            f'{self.step_deg:.1f} deg from image to image'
        )


def _cm(metres: float) -> str:
    return f'{100 * metres:.2g} cm' if metres < 1 else f'{metres:.1f} m'


def jumps(poses: Sequence[Pose4x4], stamps_ns: Sequence[int]) -> NDArray[np.float64]:
    """Steps that are far too fast, as where a map was corrected (n,) [m].

    Args:
        poses: T_world_camera [m], in order of time.
        stamps_ns: of each one [ns]; all the same where times are not known.
    """
    at = np.stack([T[:3, 3] for T in poses])
    steps = np.linalg.norm(np.diff(at, axis=0), axis=1)
    seconds = np.diff(np.array(stamps_ns, np.float64)) * 1e-9
    speed = steps / np.maximum(seconds, 1e-3) if seconds.any() else steps
    moving = speed[steps > STEP_NOISE_M]
    if len(moving) < FEWEST_STEPS:
        return np.zeros(0)
    usual = np.quantile(moving, USUAL)
    found: NDArray[np.float64] = steps[(speed > TOO_FAST * usual) & (steps > LEAST_JUMP_M)]
    return found


def chosen(poses: Sequence[Pose4x4], most: int, depth_m: float = ROOM_M) -> list[int]:
    """Images that show the motion of a camera.

    Of images at almost the same pose the first is used. If that leaves too many, images are
    farther apart; if there are still too many, short runs of them are used, spread evenly over
    the way: images of a run can be compared with each other.

    Args:
        poses: T_world_camera [m], in order of time.
        most: number of images.
        depth_m: typical distance of the scene [m].

    Returns:
        Their numbers, in order.
    """
    kept: list[int] = list(range(len(poses)))
    for factor in COARSER:
        kept = _apart(poses, factor * SAME_PLACE * depth_m, factor * SAME_DIRECTION_DEG)
        if len(kept) <= most:
            return kept
    at = np.stack([poses[k][:3, 3] for k in kept])
    way = np.concatenate(([0.0], np.linalg.norm(np.diff(at, axis=0), axis=1).cumsum()))
    return [kept[k] for k in runs(way, most)]


def _apart(poses: Sequence[Pose4x4], least_m: float, least_deg: float) -> list[int]:
    """Numbers of poses that each differ from the one before."""
    kept: list[int] = []
    for k, T in enumerate(poses):
        if kept:
            last = poses[kept[-1]]
            moved = np.linalg.norm(T[:3, 3] - last[:3, 3]) >= least_m
            if not moved and turn_deg(last, T) < least_deg:
                continue
        kept.append(k)
    return kept


def runs(way: NDArray[np.float64], most: int) -> list[int]:
    """Numbers of images in runs of `RUN`, spread evenly over a way.

    Args:
        way: (N,) where each image is on it, sorted.
        most: number of images.
    """
    if len(way) <= most:
        return list(range(len(way)))
    length = min(RUN, most)
    last = len(way) - length  # where a run can begin
    places = np.linspace(way[0], way[last], max(1, most // length))
    begins = np.clip(np.searchsorted(way, places), 0, last)
    return sorted({int(b) + k for b in begins for k in range(length)})
