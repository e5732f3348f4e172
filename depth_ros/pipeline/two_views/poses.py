# SPDX-License-Identifier: Apache-2.0
"""Poses at any time between those that were measured, and quaternions as ROS writes them."""

from __future__ import annotations

import bisect
import math

import numpy as np
from numpy.typing import NDArray

from depth_ros.core.errors import ConfigError
from depth_ros.core.stamps import went_back

Pose4x4 = NDArray[np.float64]  # (4, 4)
Quaternion = NDArray[np.float64]  # (4,) x y z w, of length 1


def pose_from_quaternion(x: float, y: float, z: float, *quaternion: float) -> Pose4x4:
    """T_a_b of b's origin in a [m] and the quaternion qx qy qz qw of b's axes in a.

    Raises:
        ConfigError: the quaternion is none: not finite, or its length is not 1.
    """
    q = np.array(quaternion, np.float64)
    length = float(np.linalg.norm(q))
    if not (abs(length - 1) < 0.01 and math.isfinite(x + y + z)):
        raise ConfigError(
            f'pose {x:g} {y:g} {z:g}, quaternion {" ".join(f"{v:g}" for v in q)} is no pose: the '
            f'quaternion (x y z w) has length {length:g}, it must be 1'
        )
    T = np.eye(4)
    T[:3, :3] = rotation_from_quaternion(q / length)
    T[:3, 3] = x, y, z
    return T


def rotation_from_quaternion(q: Quaternion) -> NDArray[np.float64]:
    """The (3, 3) rotation of a quaternion x y z w."""
    v, w = q[:3], q[3]
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    rotation: NDArray[np.float64] = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    return rotation


def quaternion_from_rotation(R: NDArray[np.float64]) -> Quaternion:
    """The quaternion x y z w of a (3, 3) rotation, w not negative."""
    # the largest of the four is found first: the others are divided by it
    squares = np.array(
        [
            1 + R[0, 0] - R[1, 1] - R[2, 2],
            1 - R[0, 0] + R[1, 1] - R[2, 2],
            1 - R[0, 0] - R[1, 1] + R[2, 2],
            1 + R[0, 0] + R[1, 1] + R[2, 2],
        ]
    )
    k = int(squares.argmax())
    x = (squares[0], R[0, 1] + R[1, 0], R[0, 2] + R[2, 0], R[2, 1] - R[1, 2])
    y = (R[0, 1] + R[1, 0], squares[1], R[1, 2] + R[2, 1], R[0, 2] - R[2, 0])
    z = (R[0, 2] + R[2, 0], R[1, 2] + R[2, 1], squares[2], R[1, 0] - R[0, 1])
    w = (R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1], squares[3])
    q = np.array((x[k], y[k], z[k], w[k]), np.float64)
    q /= np.linalg.norm(q)
    return -q if q[3] < 0 else q


def slerp(a: Quaternion, b: Quaternion, share: float) -> Quaternion:
    """The rotation `share` of the shorter way from a to b."""
    if a @ b < 0:  # the same rotation, the long way round
        b = -b
    angle = math.acos(min(1.0, float(a @ b)))
    if angle < 1e-6:
        return a
    mixed: Quaternion = math.sin((1 - share) * angle) * a + math.sin(share * angle) * b
    return mixed / np.linalg.norm(mixed)


class PoseBuffer:
    """The last poses with their times; it interpolates between two, and never beyond them.

    Args:
        keep_s: older ones are dropped [s].
        max_gap_s: two poses farther apart than this say nothing about the time between [s].
    """

    def __init__(self, keep_s: float = 10.0, max_gap_s: float = 0.5) -> None:
        """None yet."""
        self._keep_ns, self._max_gap_ns = round(keep_s * 1e9), round(max_gap_s * 1e9)
        self._times_ns: list[int] = []
        self._poses: list[Pose4x4] = []

    def __len__(self) -> int:
        """How many there are."""
        return len(self._times_ns)

    @property
    def newest_ns(self) -> int | None:
        """Time of the newest [ns]; None where there is none."""
        return self._times_ns[-1] if self._times_ns else None

    def add(self, stamp_ns: int, T: Pose4x4) -> None:
        """Remember the pose of that time, if it is newer than the newest.

        One a little older came too late and is left out; one from long before is the beginning of
        another run of a bag or a simulation, and what was known is dropped.
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
        """The pose of that time; None where no two poses near each other enclose it."""
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
        share = (stamp_ns - from_ns) / (to_ns - from_ns)
        a, b = self._poses[after - 1], self._poses[after]
        T = np.eye(4)
        T[:3, 3] = (1 - share) * a[:3, 3] + share * b[:3, 3]
        T[:3, :3] = rotation_from_quaternion(
            slerp(quaternion_from_rotation(a[:3, :3]), quaternion_from_rotation(b[:3, :3]), share)
        )
        return T
