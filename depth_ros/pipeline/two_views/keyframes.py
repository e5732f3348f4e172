# SPDX-License-Identifier: Apache-2.0
"""A moving camera's earlier frames, to find one that makes a good second view.

Too near, and the pictures tell nothing of depth; too far or turned away, and they show other
things. Both are judged by what the known poses make of a few pixels at the scene's usual depth.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np

from depth_ros.core.camera import Camera
from depth_ros.core.stamps import went_back
from depth_ros.core.types import Frame
from depth_ros.pipeline.two_views.poses import Pose4x4

log = logging.getLogger(__name__)

_GRID = (np.arange(5) + 0.5) / 5  # where pixels are looked at, in picture widths and heights


def relative_pose(T_odom_first: Pose4x4, T_odom_second: Pose4x4) -> Pose4x4:
    """T_first_second of two cameras whose poses in a common frame are known."""
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
    """A keyframe as the second view of the present frame.

    Args:
        keyframe: it.
        T_first_second: (4, 4) from the keyframe's optical frame into the present one [m].
        parallax_deg: mean angle between what the two see of the same point [deg].
        overlap: share of the present picture the keyframe shows too, 0..1.
    """

    keyframe: Keyframe
    T_first_second: Pose4x4
    parallax_deg: float
    overlap: float


class Keyframes:
    """The last few frames worth keeping.

    Args:
        capacity: most frames kept; of more, the one that lies closest between its neighbours goes.
        min_parallax_deg: a second view with less tells nothing [deg].
        max_parallax_deg: with more the pictures look too different [deg].
        wanted_parallax_deg: the best; nearer to it, as a ratio, is better [deg].
        min_overlap: least share of the present picture a second view must show too, 0..1.
        max_age_s: older frames are dropped: things move, odometry drifts [s].
        min_motion_m: a frame this near to the last one kept adds nothing [m].
        first_depth_m: taken for the scene's depth where nobody knows it yet [m].
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
        """None kept yet."""
        self._kept: list[Keyframe] = []
        self._capacity = max(2, capacity)
        self._min_parallax_deg, self._max_parallax_deg = min_parallax_deg, max_parallax_deg
        self._wanted_parallax_deg, self._min_overlap = wanted_parallax_deg, min_overlap
        self._max_age_ns = round(max_age_s * 1e9)
        self._min_motion_m, self._first_depth_m = min_motion_m, first_depth_m

    def __len__(self) -> int:
        """How many frames are kept."""
        return len(self._kept)

    def clear(self) -> None:
        """Drop all."""
        self._kept.clear()

    def add(self, frame: Frame, T_odom_camera: Pose4x4) -> bool:
        """Keep `frame`, unless the camera has hardly moved since the last one kept.

        Returns:
            Whether it was kept.
        """
        self._forget(frame.stamp_ns)
        if self._kept:
            if frame.stamp_ns < self._kept[-1].frame.stamp_ns:
                return False  # it came late
            step = T_odom_camera[:3, 3] - self._kept[-1].T_odom_camera[:3, 3]
            if not np.linalg.norm(step) >= self._min_motion_m:
                return False
        self._kept.append(Keyframe(frame, np.array(T_odom_camera, np.float64)))
        if len(self._kept) > self._capacity:
            places = [k.T_odom_camera[:3, 3] for k in self._kept]
            gaps = [np.linalg.norm(b - a) for a, b in zip(places, places[2:], strict=False)]
            # the newest and the oldest stay, so that near and far are both there
            del self._kept[1 + int(np.argmin(gaps))]
        return True

    def best(
        self, frame: Frame, T_odom_camera: Pose4x4, median_depth_m: float | None = None
    ) -> Match | None:
        """The keyframe that makes the best second view of `frame`, or None if none is good.

        Args:
            frame: the present one; it need not have been added.
            T_odom_camera: (4, 4) pose of its optical frame [m].
            median_depth_m: of the scene [m]; None or not positive takes `first_depth_m`.
        """
        self._forget(frame.stamp_ns)
        depth = median_depth_m if median_depth_m and median_depth_m > 0 else self._first_depth_m
        found: Match | None = None
        for keyframe in self._kept:
            match = _match(keyframe, frame.camera, T_odom_camera, depth)
            if match.overlap < self._min_overlap:
                continue
            if not self._min_parallax_deg <= match.parallax_deg <= self._max_parallax_deg:
                continue
            # the later of two that are alike
            if found is None or self._off(match) <= self._off(found):
                found = match
        return found

    def _off(self, match: Match) -> float:
        return abs(math.log(match.parallax_deg / self._wanted_parallax_deg))

    def _forget(self, now_ns: int) -> None:
        if self._kept and went_back(now_ns, self._kept[-1].frame.stamp_ns):
            log.info('time went back: %d earlier frames dropped', len(self._kept))
            self.clear()  # a bag started again, and its odometry with it
        since = now_ns - self._max_age_ns
        self._kept = [k for k in self._kept if k.frame.stamp_ns >= since]


def _match(keyframe: Keyframe, camera: Camera, T_odom_camera: Pose4x4, depth: float) -> Match:
    """How `keyframe` goes with a frame of `camera`, were all of the scene at `depth` [m]."""
    T = relative_pose(T_odom_camera, keyframe.T_odom_camera)
    u, v = np.meshgrid(_GRID * camera.width - 0.5, _GRID * camera.height - 0.5)
    rays = np.stack(((u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)), 2)
    points = (rays * depth).reshape(-1, 3)  # (25, 3) in the present frame
    apart = points - T[:3, 3]  # from the keyframe's camera
    cosine = (points * apart).sum(1) / np.maximum(
        np.linalg.norm(points, axis=1) * np.linalg.norm(apart, axis=1), 1e-12
    )
    x, y, z = (apart @ T[:3, :3]).T  # in the keyframe's frame
    other = keyframe.frame.camera
    z = np.where(z > 0, z, np.nan)  # behind it: seen nowhere
    u, v = other.fx * x / z + other.cx, other.fy * y / z + other.cy
    seen = (np.abs(u - (other.width - 1) / 2) <= other.width / 2) & (
        np.abs(v - (other.height - 1) / 2) <= other.height / 2
    )
    angles = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    parallax = float(angles[seen].mean()) if seen.any() else 0.0
    return Match(keyframe, T, parallax, float(seen.mean()))
