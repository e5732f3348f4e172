# SPDX-License-Identifier: Apache-2.0
"""Rotation matrices and quaternions, in the order of ROS."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Quaternion = NDArray[np.float64]  # (4,) x y z w, unit length


def angle_deg(R: NDArray[np.float64]) -> float:
    """Angle of a rotation matrix (3, 3) [deg]."""
    cosine = (float(np.trace(R)) - 1) / 2
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


def turn_deg(T_a: NDArray[np.float64], T_b: NDArray[np.float64]) -> float:
    """Angle between the orientations of two poses (4, 4) in the same frame [deg]."""
    return angle_deg(T_a[:3, :3].T @ T_b[:3, :3])


def rotation_from_quaternion(q: Quaternion) -> NDArray[np.float64]:
    """Rotation matrix (3, 3) of a quaternion x y z w."""
    v, w = q[:3], q[3]
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    rotation: NDArray[np.float64] = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    return rotation


def quaternion_from_rotation(R: NDArray[np.float64]) -> Quaternion:
    """Quaternion x y z w, with w >= 0, of a rotation matrix (3, 3)."""
    # divides by the largest of the four, for accuracy
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
