# SPDX-License-Identifier: Apache-2.0
"""Poses from quaternions in the order of ROS, and their interpolation over time."""

from __future__ import annotations

import bisect
import math

import numpy as np
from numpy.typing import NDArray

from depth_ros.core.errors import ConfigError
from depth_ros.core.rotations import (
    Quaternion,
    quaternion_from_rotation,
    rotation_from_quaternion,
)
from depth_ros.core.stamps import went_back

Pose4x4 = NDArray[np.float64]  # (4, 4)

FOREVER_S = 1e9
#: of a `Track`: poses of more than 250 Hz take memory and are no more exact
SOON_NS = 4_000_000
STILL = 1e-6  #: difference of the elements of two poses that are the same


def pose_from_quaternion(x: float, y: float, z: float, *quaternion: float) -> Pose4x4:
    """T_a_b from a translation and a quaternion, as in geometry_msgs.

    Args:
        x: of the origin of b in a [m].
        y: of the origin of b in a [m].
        z: of the origin of b in a [m].
        quaternion: qx qy qz qw of the axes of b in a.

    Returns:
        (4, 4) float64.

    Raises:
        ConfigError: a value is not finite, or the length of the quaternion is not 1.
    """
    q = np.array(quaternion, np.float64)
    length = float(np.linalg.norm(q))
    if not (abs(length - 1) < 0.01 and math.isfinite(x + y + z)):
        raise ConfigError(
            f'pose {x:g} {y:g} {z:g}, quaternion {" ".join(f"{v:g}" for v in q)} is invalid: the '
            f'quaternion (x y z w) has length {length:g}, it must be 1'
        )
    T = np.eye(4)
    T[:3, :3] = rotation_from_quaternion(q / length)
    T[:3, 3] = x, y, z
    return T


def slerp(a: Quaternion, b: Quaternion, fraction: float) -> Quaternion:
    """Spherical interpolation from a (fraction 0) to b (1), the shorter way."""
    if a @ b < 0:  # -b is the same rotation
        b = -b
    angle = math.acos(min(1.0, float(a @ b)))
    if angle < 1e-6:
        return a
    mixed: Quaternion = math.sin((1 - fraction) * angle) * a + math.sin(fraction * angle) * b
    return mixed / np.linalg.norm(mixed)


def interpolated(a: Pose4x4, b: Pose4x4, fraction: float) -> Pose4x4:
    """Pose between a (fraction 0) and b (1): position along a line, rotation by `slerp`."""
    T = np.eye(4)
    T[:3, 3] = (1 - fraction) * a[:3, 3] + fraction * b[:3, 3]
    q_a, q_b = quaternion_from_rotation(a[:3, :3]), quaternion_from_rotation(b[:3, :3])
    T[:3, :3] = rotation_from_quaternion(slerp(q_a, q_b, fraction))
    return T


class PoseBuffer:
    """Buffer of recent poses that interpolates between two of them and does not extrapolate.

    Args:
        keep_s: poses older than this are removed [s].
        max_gap_s: maximum time between two poses that are interpolated [s].
    """

    def __init__(self, keep_s: float = 10.0, max_gap_s: float = 0.5) -> None:
        self._keep_ns, self._max_gap_ns = round(keep_s * 1e9), round(max_gap_s * 1e9)
        self._times_ns: list[int] = []
        self._poses: list[Pose4x4] = []

    def __len__(self) -> int:
        """Number of stored poses."""
        return len(self._times_ns)

    @property
    def newest_ns(self) -> int | None:
        """Time of the newest pose [ns]; None if the buffer is empty."""
        return self._times_ns[-1] if self._times_ns else None

    def add(self, stamp_ns: int, T: Pose4x4) -> None:
        """Store a pose if it is newer than all others.

        A slightly older pose, which was delayed, is ignored. If time went back (`went_back`), as a
        bag or simulation was restarted, the buffer is cleared first.

        Args:
            stamp_ns: time of the pose [ns].
            T: (4, 4) pose.
        """
        if self._times_ns and stamp_ns <= self._times_ns[-1]:
            if not went_back(stamp_ns, self._times_ns[-1]):
                return
            self._times_ns, self._poses = [], []
        self._times_ns.append(stamp_ns)
        self._poses.append(T)
        old = bisect.bisect_left(self._times_ns, stamp_ns - self._keep_ns)
        del self._times_ns[:old], self._poses[:old]

    def at(self, stamp_ns: int) -> Pose4x4 | None:
        """Interpolated pose (4, 4) at a time [ns]; None outside of the poses or in a long gap."""
        after = bisect.bisect_left(self._times_ns, stamp_ns)
        if after == len(self._times_ns):
            return None
        if self._times_ns[after] == stamp_ns:
            return self._poses[after]
        if after == 0:
            return None
        from_ns, to_ns = self._times_ns[after - 1], self._times_ns[after]
        if to_ns - from_ns > self._max_gap_ns:
            return None
        fraction = (stamp_ns - from_ns) / (to_ns - from_ns)
        return interpolated(self._poses[after - 1], self._poses[after], fraction)

    def nearest(self, stamp_ns: int) -> Pose4x4:
        """The pose (4, 4) next to a time [ns], of a buffer that is not empty; 0: the newest."""
        stamp_ns = stamp_ns or self._times_ns[-1]
        after = bisect.bisect_left(self._times_ns, stamp_ns)
        near = range(max(0, after - 1), min(after + 1, len(self._times_ns)))
        return self._poses[min(near, key=lambda k: abs(self._times_ns[k] - stamp_ns))]


class Track(PoseBuffer):
    """The poses of a whole recording, interpolated between two of them.

    Where nothing moved, a gap of any length is none: some publish a pose only if it changes.

    Args:
        max_gap_s: maximum time between two different poses that are interpolated [s].
    """

    def __init__(self, max_gap_s: float = 0.5) -> None:
        super().__init__(keep_s=FOREVER_S, max_gap_s=max_gap_s)

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """Time of the first and last pose [ns]; None if there is none."""
        return (self._times_ns[0], self._times_ns[-1]) if self._times_ns else None

    def add(self, stamp_ns: int, T: Pose4x4) -> None:
        """Store a pose if it is newer than all others, and not so soon after the last one."""
        newest_ns = self.newest_ns
        if newest_ns is None or not 0 < stamp_ns - newest_ns < SOON_NS:
            super().add(stamp_ns, T)

    def at(self, stamp_ns: int) -> Pose4x4 | None:
        """Interpolated pose (4, 4) at a time [ns]; None outside of the poses or in a gap."""
        found = super().at(stamp_ns)
        after = bisect.bisect_left(self._times_ns, stamp_ns)
        if found is None and 0 < after < len(self._times_ns):
            a, b = self._poses[after - 1 : after + 1]
            return a if np.allclose(a, b, rtol=0, atol=STILL) else None
        return found
