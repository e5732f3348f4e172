# SPDX-License-Identifier: Apache-2.0
"""Poses of a camera over time, from nav_msgs/Odometry."""

from __future__ import annotations

import threading
import time
from typing import Any

from rclpy.node import Node

from depth_ros.core.errors import ConfigError
from depth_ros.messages.poses import OdometryPoses
from depth_ros.pipeline.two_views.poses import Pose4x4
from depth_ros.ros.inputs.subscription import Input
from depth_ros.ros.inputs.tf import pose_source

TOPIC = 'odom'
#: how long an image waits for the odometry of its stamp [s]
WAIT_S = 0.15
#: after this silence, images no longer wait for odometry [s]
DEAD_S = 1.0


class CameraPoses(OdometryPoses):
    """Where a moving camera was, from odometry and its pose on the robot.

    Args:
        node: owner of the subscriptions.
        needed_by: the parameter and value that need odometry, for messages.
        parameter: name of the parameter with the pose of the camera on the robot, for messages.
        camera_pose: its value, x y z qx qy qz qw in the child frame of odom; zeros for TF.

    Raises:
        ConfigError: nav_msgs is not installed, or the pose of the camera on the robot is neither
            given nor available.
    """

    def __init__(
        self, node: Node, needed_by: str, parameter: str, camera_pose: list[float]
    ) -> None:
        try:
            from nav_msgs.msg import Odometry
        except ImportError:
            raise ConfigError(
                f'{needed_by} but nav_msgs is not installed: install it (apt: '
                'ros-$ROS_DISTRO-nav-msgs, pip: ros-nav-msgs)'
            ) from None
        self._message_type = Odometry
        meaning = "the camera's pose in the child frame of odom"
        super().__init__(TOPIC, pose_source(node, parameter, camera_pose, meaning))

    def start_again(self) -> None:
        """Forget all poses."""
        super().start_again()
        self._arrived_s = 0.0
        self._changed = threading.Condition()

    def input(self, node: Node) -> Input:
        """Subscribe."""
        return Input(node, self._message_type, TOPIC, self.put, 50)

    def put(self, message: Any) -> None:
        """Keep a nav_msgs/Odometry."""
        with self._changed:
            super().put(message)
            self._arrived_s = time.monotonic()
            self._changed.notify()

    def at(self, stamp_ns: int, frame_id: str) -> Pose4x4:
        """See `OdometryPoses.at`; waits up to `WAIT_S` for the odometry of that time."""
        with self._changed:
            end_s = time.monotonic() + WAIT_S
            while self.newest_ns < stamp_ns:
                now_s = time.monotonic()
                if now_s >= end_s or now_s - self._arrived_s > DEAD_S:
                    break
                self._changed.wait(end_s - now_s)
            return super().at(stamp_ns, frame_id)
