# SPDX-License-Identifier: Apache-2.0
"""Earlier frames of a moving camera, from which further views are chosen.

A good view has enough parallax to measure depth, and enough overlap with the present image. Both
are computed from the known poses for a few pixels at the median depth of the scene.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import pixel_rays, project
from depth_ros.core.stamps import went_back
from depth_ros.core.types import Frame
from depth_ros.pipeline.two_views.poses import Pose4x4

log = logging.getLogger(__name__)

_GRID = (np.arange(5) + 0.5) / 5  # test pixels, in widths and heights of the image


def relative_pose(T_odom_first: Pose4x4, T_odom_second: Pose4x4) -> Pose4x4:
    """T_first_second (4, 4) of two cameras from their poses in a common frame."""
    R, t = T_odom_first[:3, :3], T_odom_first[:3, 3]
    T = np.eye(4)
    T[:3, :3] = R.T @ T_odom_second[:3, :3]
    T[:3, 3] = R.T @ (T_odom_second[:3, 3] - t)
    return T


@dataclass(frozen=True, slots=True)
class Keyframe:
    """An earlier frame.

    Args:
        frame: undistorted, with its stamp.
        T_odom_camera: (4, 4) pose of its optical frame [m].
    """

    frame: Frame
    T_odom_camera: Pose4x4


@dataclass(frozen=True, slots=True)
class Match:
    """A keyframe as a further view of the present frame.

    Args:
        keyframe: the earlier frame.
        T_first_second: (4, 4) from the optical frame of the keyframe to the present one [m].
        parallax_deg: mean angle between the rays of both cameras to the same point [deg].
        overlap: fraction of the present image that the keyframe shows too, 0..1.
    """

    keyframe: Keyframe
    T_first_second: Pose4x4
    parallax_deg: float
    overlap: float


class Keyframes:
    """Buffer of recent frames that may become further views.

    Args:
        capacity: maximum number of frames; beyond it the frame closest to its neighbours is
            removed.
        min_parallax_deg: minimum parallax of a second view [deg].
        max_parallax_deg: maximum parallax, above which the images look too different [deg].
        wanted_parallax_deg: best parallax [deg]; others are compared by their ratio to it.
        min_overlap: minimum fraction of the present image that a second view shows too, 0..1.
        max_age_s: older frames are removed, as objects move and odometry drifts [s].
        min_motion_m: minimum distance from the last stored frame [m].
        first_depth_m: assumed depth of the scene before any is measured [m].
    """

    def __init__(
        self,
        *,
        capacity: int = 10,
        min_parallax_deg: float = 1.5,
        max_parallax_deg: float = 25.0,
        wanted_parallax_deg: float = 7.0,
        min_overlap: float = 0.5,
        max_age_s: float = 10.0,
        min_motion_m: float = 0.03,
        first_depth_m: float = 3.0,
    ) -> None:
        self._frames: list[Keyframe] = []
        self._capacity = max(2, capacity)
        self._min_parallax_deg, self._max_parallax_deg = min_parallax_deg, max_parallax_deg
        self._wanted_parallax_deg, self._min_overlap = wanted_parallax_deg, min_overlap
        self._max_age_ns = round(max_age_s * 1e9)
        self._min_motion_m, self._first_depth_m = min_motion_m, first_depth_m

    def __len__(self) -> int:
        """Number of stored frames."""
        return len(self._frames)

    def clear(self) -> None:
        """Remove all frames."""
        self._frames.clear()

    def add(self, frame: Frame, T_odom_camera: Pose4x4) -> bool:
        """Store a frame, unless the camera moved less than `min_motion_m` since the last one.

        Args:
            frame: undistorted, with its stamp.
            T_odom_camera: (4, 4) pose of its optical frame [m].

        Returns:
            Whether it was stored.
        """
        self._remove_old(frame.stamp_ns)
        if self._frames:
            if frame.stamp_ns < self._frames[-1].frame.stamp_ns:
                return False  # it arrived late
            step = T_odom_camera[:3, 3] - self._frames[-1].T_odom_camera[:3, 3]
            if not np.linalg.norm(step) >= self._min_motion_m:
                return False
        self._frames.append(Keyframe(frame, np.array(T_odom_camera, np.float64)))
        if len(self._frames) > self._capacity:
            positions = [k.T_odom_camera[:3, 3] for k in self._frames]
            gaps = [np.linalg.norm(b - a) for a, b in zip(positions, positions[2:], strict=False)]
            # the newest and the oldest stay, for a choice of small and large parallax
            del self._frames[1 + int(np.argmin(gaps))]
        return True

    def best(
        self,
        frame: Frame,
        T_odom_camera: Pose4x4,
        median_depth_m: float | None = None,
        count: int = 1,
    ) -> list[Match]:
        """Choose the best further views of `frame`.

        Frames older than `max_age_s` are removed; if time went back, all are.

        Args:
            frame: present frame; it need not have been added.
            T_odom_camera: (4, 4) pose of its optical frame [m].
            median_depth_m: depth of the scene [m]; `first_depth_m` if None or not positive.
            count: maximum number of views.

        Returns:
            Keyframes within the limits of parallax and overlap; there may be none. The first is
            that whose parallax is closest to `wanted_parallax_deg`, as a ratio. Each next one is
            the farthest from all cameras before it, which sees the scene from another side; one
            that is closer than `min_motion_m` to any of them is not taken.
        """
        self._remove_old(frame.stamp_ns)
        depth = median_depth_m if median_depth_m and median_depth_m > 0 else self._first_depth_m
        left = []
        for keyframe in reversed(self._frames):  # of two equal ones the later is taken
            match = _match(keyframe, frame.camera, T_odom_camera, depth)
            in_limits = self._min_parallax_deg <= match.parallax_deg <= self._max_parallax_deg
            if in_limits and match.overlap >= self._min_overlap:
                left.append(match)
        if not left:
            return []
        chosen = [min(left, key=self._deviation)]
        while len(chosen) < count:
            farthest = max(left, key=lambda match: _distance(match, chosen))
            if _distance(farthest, chosen) < self._min_motion_m:
                break
            chosen.append(farthest)
        return chosen

    def _deviation(self, match: Match) -> float:
        return abs(math.log(match.parallax_deg / self._wanted_parallax_deg))

    def _remove_old(self, now_ns: int) -> None:
        if self._frames and went_back(now_ns, self._frames[-1].frame.stamp_ns):
            log.info('time went back: %d earlier frames dropped', len(self._frames))
            self.clear()  # a bag was restarted, and its odometry with it
        since = now_ns - self._max_age_ns
        self._frames = [k for k in self._frames if k.frame.stamp_ns >= since]


def _distance(match: Match, others: list[Match]) -> float:
    """Distance of its camera from the nearest of the others and of the present frame [m]."""
    positions = np.stack([np.zeros(3), *(other.T_first_second[:3, 3] for other in others)])
    return float(np.linalg.norm(positions - match.T_first_second[:3, 3], axis=1).min())


def _match(keyframe: Keyframe, camera: Camera, T_odom_camera: Pose4x4, depth: float) -> Match:
    """Parallax and overlap of a frame of `camera` and `keyframe` for a scene at `depth` [m]."""
    T = relative_pose(T_odom_camera, keyframe.T_odom_camera)
    u, v = np.meshgrid(_GRID * camera.width - 0.5, _GRID * camera.height - 0.5)
    # (25, 3) in the present optical frame
    points = (pixel_rays(u, v, camera) * depth).reshape(-1, 3)
    offset = points - T[:3, 3]  # from the camera of the keyframe
    cosine = (points * offset).sum(1) / np.maximum(
        np.linalg.norm(points, axis=1) * np.linalg.norm(offset, axis=1), 1e-12
    )
    points_second = offset @ T[:3, :3]  # in the optical frame of the keyframe
    points_second[points_second[:, 2] <= 0] = np.nan  # behind the camera
    other = keyframe.frame.camera
    u, v = project(points_second, other)
    visible = (np.abs(u - (other.width - 1) / 2) <= other.width / 2) & (
        np.abs(v - (other.height - 1) / 2) <= other.height / 2
    )
    angles = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    parallax = float(angles[visible].mean()) if visible.any() else 0.0
    return Match(keyframe, T, parallax, float(visible.mean()))
