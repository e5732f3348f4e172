# SPDX-License-Identifier: Apache-2.0
"""Poses from TF, where tf2_ros is installed."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.time import Time

from depth_ros.core.errors import ConfigError, ScaleError
from depth_ros.pipeline.two_views.poses import Pose4x4, pose_from_quaternion


class Transforms:
    """The latest transforms from TF.

    Args:
        node: owner of the subscription.
        instead: the parameter that replaces TF, and what it holds, for the error message.

    Raises:
        ConfigError: tf2_ros is not installed.
    """

    def __init__(self, node: Node, instead: str) -> None:
        try:
            from tf2_ros import Buffer, TransformListener
        except ImportError:
            raise ConfigError(f'tf2_ros is not installed: set {instead}, or install it') from None
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node)

    def between(self, target: str, source: str, stamp_ns: int = 0) -> Pose4x4:
        """T_target_source, (4, 4) float64 [m].

        Args:
            target: frame to which points are mapped.
            source: frame of the points.
            stamp_ns: time of the transform [ns]; the latest if it is 0 or not known yet.

        Raises:
            ScaleError: TF does not connect the two.
        """
        if target == source:
            raise ScaleError(f'both frame_ids are {target!r}: TF has no transform between them')
        try:
            time = Time(nanoseconds=stamp_ns)
            if stamp_ns and not self._buffer.can_transform(target, source, time):
                time = Time()
            found: Any = self._buffer.lookup_transform(target, source, time)
        except Exception as error:  # tf2's errors, and those of an empty name
            text = f'TF has no transform from {source!r} to {target!r}: {error}'
            raise ScaleError(text) from error
        return pose_of(found.transform.translation, found.transform.rotation)

    def close(self) -> None:
        """Unsubscribe."""
        self._listener.unregister()


class PoseSource:
    """A pose that is a parameter, or else comes from TF.

    Args:
        node: owner of the subscription to TF.
        parameter: name of the parameter, for messages.
        values: its value, x y z [m] qx qy qz qw; zeros for TF.
        meaning: what the parameter holds, for messages.

    Attributes:
        fixed: (4, 4) float64 [m], the parameter; None where TF has the pose.

    Raises:
        ConfigError: the value is no pose, or TF is needed and tf2_ros is not installed.
    """

    def __init__(self, node: Node, parameter: str, values: list[float], meaning: str) -> None:
        self.fixed = fixed_pose(parameter, values)
        self._transforms: Transforms | None = None
        if self.fixed is None:
            self._transforms = Transforms(node, f'{parameter} to {meaning}')

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


def pose_of(position: Any, orientation: Any) -> Pose4x4:
    """geometry_msgs position or translation [m], and quaternion -> (4, 4) float64.

    Raises:
        ConfigError: the quaternion does not have length 1.
    """
    p, q = position, orientation
    return pose_from_quaternion(p.x, p.y, p.z, q.x, q.y, q.z, q.w)
