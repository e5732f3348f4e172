# SPDX-License-Identifier: Apache-2.0
"""Poses from TF, where tf2_ros is installed."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.time import Time

from depth_ros.core.errors import ConfigError, ScaleError
from depth_ros.messages.poses import PoseSource, pose_of
from depth_ros.pipeline.two_views.poses import Pose4x4


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
        """T_target_source; see `messages.poses.Transforms`."""
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


def pose_source(node: Node, parameter: str, values: list[float], meaning: str) -> PoseSource:
    """A pose that is a parameter, or else comes from TF.

    Args:
        node: owner of the subscription to TF.
        parameter: name of the parameter, for messages.
        values: its value, x y z [m] qx qy qz qw; zeros for TF.
        meaning: what the parameter holds, for messages.

    Raises:
        ConfigError: the value is no pose, or TF is needed and tf2_ros is not installed.
    """
    return PoseSource(parameter, values, lambda: Transforms(node, f'{parameter} to {meaning}'))
