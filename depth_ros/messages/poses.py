# SPDX-License-Identifier: Apache-2.0
"""Poses in messages and parameters, and of a camera on a robot whose odometry is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from depth_ros.core.errors import ConfigError, ScaleError
from depth_ros.core.stamps import nanoseconds
from depth_ros.pipeline.two_views.poses import Pose4x4, PoseBuffer, pose_from_quaternion


class Transforms(Protocol):
    """TF, of a running robot or of a bag."""

    def between(self, target: str, source: str, stamp_ns: int = 0) -> Pose4x4:
        """T_target_source, (4, 4) float64 [m].

        Args:
            target: frame to which points are mapped.
            source: frame of the points.
            stamp_ns: time of the transform [ns]; the latest if it is 0 or not known yet.

        Raises:
            ScaleError: TF does not connect the two.
        """

    def close(self) -> None:
        """Unsubscribe."""


def pose_of(position: Any, orientation: Any) -> Pose4x4:
    """geometry_msgs position or translation [m], and quaternion -> (4, 4) float64.

    Raises:
        ConfigError: the quaternion does not have length 1.
    """
    p, q = position, orientation
    return pose_from_quaternion(p.x, p.y, p.z, q.x, q.y, q.z, q.w)


def fixed_pose(parameter: str, values: list[float]) -> Pose4x4 | None:
    """A pose given as a parameter, (4, 4); None for zeros, which mean TF.

    Args:
        parameter: its name, for messages.
        values: x y z [m] qx qy qz qw.

    Raises:
        ConfigError: it is no pose.
    """
    if not any(values):
        return None
    if len(values) != 7:
        raise ConfigError(f'{parameter} is {values}; it is x y z qx qy qz qw')
    try:
        return pose_from_quaternion(*values)
    except ConfigError as error:
        raise ConfigError(f'{parameter}: {error}') from None


class PoseSource:
    """A pose that is a parameter, or else comes from TF.

    Args:
        parameter: name of the parameter, for messages.
        values: its value, x y z [m] qx qy qz qw; zeros for TF.
        listen: returns TF; called only if it is needed.

    Attributes:
        fixed: (4, 4) float64 [m], the parameter; None where TF has the pose.

    Raises:
        ConfigError: the value is no pose, or `listen` raises it.
    """

    def __init__(
        self, parameter: str, values: list[float], listen: Callable[[], Transforms]
    ) -> None:
        self.fixed = fixed_pose(parameter, values)
        self._transforms = listen() if self.fixed is None else None

    def between(self, target: str, source: str, stamp_ns: int = 0) -> Pose4x4:
        """T_target_source, (4, 4) float64 [m]; see `Transforms.between`.

        Raises:
            ScaleError: TF does not connect the two.
        """
        if self.fixed is not None:
            return self.fixed
        assert self._transforms is not None  # without the parameter `__init__` listens to TF
        return self._transforms.between(target, source, stamp_ns)

    def close(self) -> None:
        """Unsubscribe from TF."""
        if self._transforms is not None:
            self._transforms.close()


class OdometryPoses:
    """Where a moving camera was, from nav_msgs/Odometry and its pose on the robot.

    Args:
        topic: of the odometry, for messages.
        camera_pose: of the camera in the child frame of the odometry.
    """

    def __init__(self, topic: str, camera_pose: PoseSource) -> None:
        self.topic = topic
        self._camera_pose = camera_pose
        self.start_again()

    def start_again(self) -> None:
        """Forget all poses."""
        self._poses = PoseBuffer()
        self._child, self._bad = '', ''

    @property
    def newest_ns(self) -> int:
        """Stamp of the newest pose [ns]; 0 if there is none."""
        return self._poses.newest_ns or 0

    def put(self, message: Any) -> None:
        """Keep a nav_msgs/Odometry."""
        try:
            pose = message.pose.pose
            T_odom_base = pose_of(pose.position, pose.orientation)
        except ConfigError as error:
            self._bad = f'{self.topic}: {error}'
            return
        self._bad = ''
        self._child = message.child_frame_id
        self._poses.add(nanoseconds(message.header.stamp), T_odom_base)

    def at(self, stamp_ns: int, frame_id: str) -> Pose4x4:
        """T_odom_camera (4, 4) [m].

        Args:
            stamp_ns: of the image [ns].
            frame_id: optical frame of the image.

        Raises:
            ScaleError: the pose is not known; the message says why.
        """
        T_odom_base = self._poses.at(stamp_ns)
        if T_odom_base is not None:
            return T_odom_base @ self._camera_pose.between(self._child, frame_id)
        newest_ns = self._poses.newest_ns
        if self._bad or newest_ns is None:
            raise ScaleError(self._bad or 'no odometry yet')
        ago_s = (stamp_ns - newest_ns) * 1e-9
        raise ScaleError(
            f"no odometry around the image's stamp: the newest is {abs(ago_s):.3g} s "
            f'{"older" if ago_s > 0 else "younger"}'
        )

    def close(self) -> None:
        """Unsubscribe from TF."""
        self._camera_pose.close()
