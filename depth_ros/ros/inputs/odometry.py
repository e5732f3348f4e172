# SPDX-License-Identifier: Apache-2.0
"""Poses of a camera over time, from nav_msgs/Odometry."""

from __future__ import annotations

import threading
import time
from typing import Any

from rclpy.node import Node

from depth_ros.core.errors import ConfigError, ScaleError
from depth_ros.core.stamps import nanoseconds
from depth_ros.pipeline.two_views.poses import Pose4x4, PoseBuffer
from depth_ros.ros.inputs.subscription import Input
from depth_ros.ros.inputs.tf import PoseSource, pose_of

TOPIC = 'odom'
#: how long an image waits for the odometry of its stamp [s]
WAIT_S = 0.15
#: after this silence, images no longer wait for odometry [s]
DEAD_S = 1.0


class CameraPoses:
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
        self._camera_pose = PoseSource(node, parameter, camera_pose, meaning)
        self.start_again()

    def start_again(self) -> None:
        """Forget all poses."""
        self._poses = PoseBuffer()
        self._arrived_s = 0.0
        self._child, self._bad = '', ''
        self._changed = threading.Condition()

    def input(self, node: Node) -> Input:
        """Subscribe."""
        return Input(node, self._message_type, TOPIC, self.put, 50)

    def put(self, message: Any) -> None:
        """Keep a nav_msgs/Odometry."""
        with self._changed:
            try:
                pose = message.pose.pose
                T_odom_base = pose_of(pose.position, pose.orientation)
            except ConfigError as error:
                self._bad = f'{TOPIC}: {error}'
                return
            self._bad = ''
            self._arrived_s = time.monotonic()
            self._child = message.child_frame_id
            self._poses.add(nanoseconds(message.header.stamp), T_odom_base)
            self._changed.notify()

    def at(self, stamp_ns: int, frame_id: str) -> Pose4x4:
        """T_odom_camera (4, 4) [m]; waits up to `WAIT_S` for the odometry of that time.

        Args:
            stamp_ns: of the image [ns].
            frame_id: optical frame of the image.

        Raises:
            ScaleError: the pose is not known; the message says why.
        """
        T_odom_base, why = self._base_at(stamp_ns)
        if T_odom_base is None:
            raise ScaleError(why)
        return T_odom_base @ self._camera_pose.between(self._child, frame_id)

    def _base_at(self, stamp_ns: int) -> tuple[Pose4x4 | None, str]:
        """T_odom_base of that time, or None and why."""
        with self._changed:
            end_s = time.monotonic() + WAIT_S
            while (self._poses.newest_ns or 0) < stamp_ns:
                now_s = time.monotonic()
                if now_s >= end_s or now_s - self._arrived_s > DEAD_S:
                    break
                self._changed.wait(end_s - now_s)
            T = self._poses.at(stamp_ns)
            if T is not None:
                return T, ''
            newest_ns = self._poses.newest_ns
            if newest_ns is None:
                return None, self._bad or 'no odometry yet'
            ago_s = (stamp_ns - newest_ns) * 1e-9
            return None, self._bad or (
                f"no odometry around the image's stamp: the newest is {abs(ago_s):.3g} s "
                f'{"older" if ago_s > 0 else "younger"}'
            )

    def close(self) -> None:
        """Unsubscribe from TF."""
        self._camera_pose.close()
