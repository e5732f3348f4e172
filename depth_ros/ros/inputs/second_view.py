# SPDX-License-Identifier: Apache-2.0
"""The second view: a second camera (stereo), or an earlier frame and odometry (motion)."""

from __future__ import annotations

import threading
import time
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depth_ros.core.errors import ConfigError, ScaleError
from depth_ros.core.stamps import nanoseconds
from depth_ros.core.types import DepthMap, Frame
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline, Snapshot
from depth_ros.pipeline.two_views.poses import Pose4x4, PoseBuffer, pose_from_quaternion
from depth_ros.pipeline.two_views.views import EarlierFrame, SecondCamera
from depth_ros.ros.inputs.newest import LatestImage
from depth_ros.ros.inputs.pairs import LatestPair
from depth_ros.ros.inputs.subscription import Input
from depth_ros.ros.inputs.tf import Transforms, pose_of
from depth_ros.ros.statistics import Counters

#: how long an image waits for the odometry of its stamp [s]
ODOMETRY_WAIT_S = 0.15
#: after this silence, images no longer wait for odometry [s]
ODOMETRY_DEAD_S = 1.0


class Stereo:
    """Pairs of `image` and `image_2`; the distance of the cameras is a parameter or from TF.

    Args:
        node: owner of the subscriptions.
        pipeline: of a network that takes pairs.
        settings: all parameters.

    Raises:
        ConfigError: the distance is too small for a scale, or neither given nor available.
    """

    def __init__(self, node: LifecycleNode, pipeline: Pipeline, settings: Settings) -> None:
        self.settings = settings.two_views
        distance, least = self.settings.baseline, self.settings.min_baseline
        if 0 < distance < least:
            raise ConfigError(
                f'two_views.baseline is {distance:g} m but two_views.min_baseline is {least:g}: '
                'no pair could give a scale'
            )
        self.views = SecondCamera(pipeline, self.settings)
        self._transforms: Transforms | None = None
        if not distance:
            instead = 'two_views.baseline to the distance of the cameras [m]'
            self._transforms = Transforms(node, instead)
        self._slot: LatestPair | None = None

    def slot(self, counters: Counters) -> LatestPair:
        """A new slot, from which the worker takes."""
        self._slot = LatestPair(counters, self.settings.max_offset)
        return self._slot

    def inputs(self, node: LifecycleNode, settings: Settings) -> list[Input]:
        """Subscribe; the image first."""
        compressed = settings.image_transport == 'compressed'
        kind, topic = (CompressedImage, 'image_2/compressed') if compressed else (Image, 'image_2')
        slot = self._slot
        assert slot is not None  # `Stream.start` makes it first
        return [
            Input(
                node, kind, topic, lambda m: slot.put_image(m, 1), 1, settings.image_reliability
            ),
            Input(node, CameraInfo, 'camera_info_2', lambda m: slot.put_info(m, 1), 10, once=True),
        ]

    def why_silent(self) -> str:
        """Why images arrive but no pairs; '' if they do."""
        return self._slot.why_none() if self._slot else ''

    def __call__(self, frames: list[Frame], snapshot: Snapshot) -> DepthMap:
        """Depth of the first of two frames [m].

        Raises:
            ScaleError: the metric scale is not known yet.
        """
        first, second = frames
        known: Pose4x4 | float = self.settings.baseline
        if self._transforms is not None:
            known = self._transforms.between(first.frame_id, second.frame_id)
        return self.views(first, second, known, snapshot)

    def close(self) -> None:
        """Unsubscribe from TF."""
        if self._transforms is not None:
            self._transforms.close()


class Motion:
    """Images of one camera that moves, and odometry.

    Args:
        node: owner of the subscriptions.
        pipeline: of a network that takes pairs.
        settings: all parameters.

    Raises:
        ConfigError: nav_msgs is not installed, or the pose of the camera on the robot is neither
            given nor available.
    """

    def __init__(self, node: LifecycleNode, pipeline: Pipeline, settings: Settings) -> None:
        try:
            from nav_msgs.msg import Odometry
        except ImportError:
            raise ConfigError(
                "two_views.mode is 'motion' but nav_msgs is not installed: install it (apt: "
                'ros-$ROS_DISTRO-nav-msgs, pip: ros-nav-msgs)'
            ) from None
        self._message_type = Odometry
        self.views = EarlierFrame(pipeline, settings.two_views)
        self._T_base_camera = camera_pose(settings.two_views.camera_pose)
        self._transforms: Transforms | None = None
        if self._T_base_camera is None:
            instead = "two_views.camera_pose to the camera's pose in the child frame of odom"
            self._transforms = Transforms(node, instead)
        self._start_again()

    def _start_again(self) -> None:
        self._poses = PoseBuffer()
        self._arrived_s = 0.0
        self._child, self._bad = '', ''
        self._changed = threading.Condition()

    def slot(self, counters: Counters) -> LatestImage:
        """A new slot, from which the worker takes."""
        self._start_again()
        return LatestImage(counters)

    def inputs(self, node: LifecycleNode, settings: Settings) -> list[Input]:
        """Subscribe to the odometry."""
        return [Input(node, self._message_type, 'odom', self.put, 50)]

    def why_silent(self) -> str:
        """Always '': its `Input` reports missing odometry."""
        return ''

    def put(self, message: Any) -> None:
        """Keep a nav_msgs/Odometry."""
        with self._changed:
            try:
                pose = message.pose.pose
                T_odom_base = pose_of(pose.position, pose.orientation)
            except ConfigError as error:
                self._bad = f'odom: {error}'
                return
            self._bad = ''
            self._arrived_s = time.monotonic()
            self._child = message.child_frame_id
            self._poses.add(nanoseconds(message.header.stamp), T_odom_base)
            self._changed.notify()

    def __call__(self, frames: list[Frame], snapshot: Snapshot) -> DepthMap:
        """Depth of the one frame [m].

        Raises:
            ScaleError: the metric scale is not known yet.
        """
        (frame,) = frames
        T_odom_base, why = self._base_at(frame.stamp_ns)
        if T_odom_base is None:
            return self.views(frame, None, snapshot, why)
        try:
            T_base_camera = self._camera_pose(frame.frame_id)
        except ScaleError as error:
            return self.views(frame, None, snapshot, str(error))
        return self.views(frame, T_odom_base @ T_base_camera, snapshot)

    def _camera_pose(self, frame_id: str) -> Pose4x4:
        """T_base_camera: the parameter, else TF.

        Raises:
            ScaleError: TF does not connect the two.
        """
        if self._T_base_camera is not None:
            return self._T_base_camera
        assert self._transforms is not None  # without the parameter `__init__` listens to TF
        return self._transforms.between(self._child, frame_id)

    def _base_at(self, stamp_ns: int) -> tuple[Pose4x4 | None, str]:
        """T_odom_base of that time, or None and why."""
        with self._changed:
            end_s = time.monotonic() + ODOMETRY_WAIT_S
            while (self._poses.newest_ns or 0) < stamp_ns:
                now_s = time.monotonic()
                if now_s >= end_s or now_s - self._arrived_s > ODOMETRY_DEAD_S:
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
        if self._transforms is not None:
            self._transforms.close()


def second_view_for(
    node: LifecycleNode, pipeline: Pipeline, settings: Settings
) -> Stereo | Motion | None:
    """The source of the second view by `two_views.mode`; None for one view.

    Raises:
        ConfigError: that source is not possible here.
    """
    kinds: dict[str, type[Stereo] | type[Motion]] = {'stereo': Stereo, 'motion': Motion}
    kind = kinds.get(settings.two_views.mode)
    return kind(node, pipeline, settings) if kind else None


def camera_pose(values: list[float]) -> Pose4x4 | None:
    """`two_views.camera_pose` as (4, 4); None for zeros.

    Raises:
        ConfigError: it is no pose.
    """
    if not any(values):
        return None
    if len(values) != 7:
        raise ConfigError(f'two_views.camera_pose is {values}; it is x y z qx qy qz qw')
    try:
        return pose_from_quaternion(*values)
    except ConfigError as error:
        raise ConfigError(f'two_views.camera_pose: {error}') from None
