# SPDX-License-Identifier: Apache-2.0
"""Anchors for the images of one camera, from the sensors and the mounting of the robot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, Range

from depth_ros.core.errors import ConfigError, DepthRosError, ScaleError
from depth_ros.core.stamps import nanoseconds
from depth_ros.core.types import Anchors, Frame, Prediction
from depth_ros.messages.sensors import cloud_points, depth_image_points, laser_points
from depth_ros.parameters.anchors import SOURCES, AnchorSettings
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.anchors.beam import from_beam
from depth_ros.pipeline.anchors.floor import from_floor
from depth_ros.pipeline.anchors.points import Points, from_points
from depth_ros.pipeline.anchors.tracks import Tracks
from depth_ros.pipeline.two_views.poses import Pose4x4
from depth_ros.ros.inputs.floor import FloorSource
from depth_ros.ros.inputs.odometry import CameraPoses
from depth_ros.ros.inputs.subscription import Input
from depth_ros.ros.inputs.tf import PoseSource

Message = TypeVar('Message')
KEPT = 5  #: messages of a sensor, of which the one next to an image in time is used


class _Source(Protocol):
    """Where anchors come from."""

    def inputs(self, node: Node) -> list[Input]:
        """Forget what was received, and subscribe."""

    def take(self, frame: Frame) -> Frame:
        """Choose what belongs to a frame; the frame, with its pose if that is known."""

    def anchors(self, frame: Frame, prediction: Prediction) -> Anchors | None:
        """Anchors of that frame, or None for nothing new; raises DepthRosError with the reason."""

    def close(self) -> None:
        """Unsubscribe from TF."""


class AnchorSources:
    """All sources of anchors that `anchors.sources` names, for one camera.

    The executor's thread stores messages. The worker's thread calls `take` for each frame, and the
    object itself with what the network predicts, which may take seconds.

    Args:
        node: owner of the subscriptions.
        settings: parameters `anchors.*`.
        floor: knows why a frame has no floor.

    Raises:
        ConfigError: a pose is neither given nor available, or a message type is not installed.
    """

    def __init__(self, node: Node, settings: AnchorSettings, floor: FloorSource) -> None:
        self.settings = settings
        #: why sources gave none for the last image, by name; replaced as a whole
        self.reasons: Mapping[str, str] = {}
        self._made: dict[str, _Source] = {}
        try:
            for name in filter(None, settings.sources):
                source = (
                    _Height(floor) if name == 'height' else _SOURCES[name](node, name, settings)
                )
                self._made[name] = source
        except ConfigError:
            self.close()
            raise

    def inputs(self, node: Node) -> list[Input]:
        """Subscribe to all topics."""
        return [found for source in self._made.values() for found in source.inputs(node)]

    def take(self, frame: Frame) -> Frame:
        """Choose the messages that belong to a frame, before the network takes its time.

        Returns:
            The frame, with its pose if odometry is one of the sources and knows it.
        """
        for source in self._made.values():
            frame = source.take(frame)
        return frame

    def __call__(self, frame: Frame, prediction: Prediction) -> dict[str, Anchors]:
        """Anchors of a frame by source, without sources that have none or nothing new.

        Args:
            frame: of `take`, undistorted.
            prediction: of the frame.
        """
        found, reasons = {}, dict(self.reasons)
        for name, source in self._made.items():
            try:
                anchors = source.anchors(frame, prediction)
            except DepthRosError as error:
                reasons[name] = str(error)
                continue
            if anchors is None:  # nothing new
                continue
            reasons.pop(name, None)
            if len(anchors):
                found[name] = anchors
            else:
                reasons[name] = 'nothing that it measured is in the image'
        self.reasons = reasons
        return found

    def close(self) -> None:
        """Unsubscribe from TF."""
        for source in self._made.values():
            source.close()


class _Sensor(Generic[Message]):
    """A sensor whose messages become anchors of the images that are next to them in time.

    Args:
        node: owner of the subscription.
        name: of the source.
        settings: parameters `anchors.*`.
    """

    message_type: type

    def __init__(self, node: Node, name: str, settings: AnchorSettings) -> None:
        self.topic = f'anchors/{name}'
        own = getattr(settings, name)
        self.sigma: float = own.sigma
        self.max_offset_s = settings.max_offset
        meaning = "the sensor's pose in the optical frame of the camera"
        self._sensor_pose = PoseSource(node, f'anchors.{name}.pose', own.pose, meaning)
        self._forget()

    def _forget(self) -> None:
        self._recent: list[Message] = []  # replaced as a whole, as two threads use it
        self._taken: Message | None = None
        self._used: Message | None = None

    def inputs(self, node: Node) -> list[Input]:
        self._forget()
        return [Input(node, self.message_type, self.topic, self._put, 1)]

    def _put(self, message: Message) -> None:
        self._recent = [*self._recent[1 - KEPT :], message]

    def take(self, frame: Frame) -> Frame:
        recent: list[Any] = self._recent
        apart = [abs(frame.stamp_ns - nanoseconds(m.header.stamp)) for m in recent]
        self._taken = recent[apart.index(min(apart))] if recent else None
        return frame

    def anchors(self, frame: Frame, prediction: Prediction) -> Anchors | None:
        """Of the message that was taken; None if it has been used.

        Raises:
            ScaleError: there is none, or it cannot be used with this frame.
        """
        message: Any = self._taken
        if message is None:
            raise ScaleError(f'no {self.topic} yet')
        if message is self._used:
            return None
        offset_s = (frame.stamp_ns - nanoseconds(message.header.stamp)) * 1e-9
        if abs(offset_s) > self.max_offset_s:
            raise ScaleError(
                f'{self.topic} is {abs(offset_s):.3g} s {"older" if offset_s > 0 else "younger"} '
                f'than the image; anchors.max_offset is {self.max_offset_s:g}'
            )
        T = self._pose(frame, message.header.frame_id)
        self._used = message
        return self._measured(message, T, frame, prediction)

    def _measured(
        self, message: Message, T: Pose4x4, frame: Frame, prediction: Prediction
    ) -> Anchors:
        """Anchors of a message; T is the pose of the sensor in the optical frame."""
        return from_points(self._points(message), T, frame.camera, sigma=self.sigma)

    def _points(self, message: Message) -> Points:
        raise NotImplementedError

    def _pose(self, frame: Frame, sensor_frame: str) -> Pose4x4:
        if self._sensor_pose.fixed is None and frame.frame_id == sensor_frame:
            return np.eye(4)
        return self._sensor_pose.between(frame.frame_id, sensor_frame, frame.stamp_ns)

    def close(self) -> None:
        self._sensor_pose.close()


class _Cloud(_Sensor[PointCloud2]):
    message_type = PointCloud2

    def _points(self, message: PointCloud2) -> Points:
        return cloud_points(message)


class _Scan(_Sensor[LaserScan]):
    message_type = LaserScan

    def _points(self, message: LaserScan) -> Points:
        return laser_points(message)


class _DepthImage(_Sensor[Image]):
    message_type = Image

    def inputs(self, node: Node) -> list[Input]:
        self._info: CameraInfo | None = None
        topic = f'{self.topic}/camera_info'
        return [
            *super().inputs(node),
            Input(node, CameraInfo, topic, self._put_info, 1, once=True),
        ]

    def _put_info(self, message: CameraInfo) -> None:
        self._info = message

    def _points(self, message: Image) -> Points:
        if self._info is None:
            raise ScaleError(f'no {self.topic}/camera_info yet')
        return depth_image_points(message, self._info)


class _Beam(_Sensor[Range]):
    message_type = Range

    def _measured(
        self, message: Range, T: Pose4x4, frame: Frame, prediction: Prediction
    ) -> Anchors:
        far = message.max_range or math.inf
        if not message.min_range <= message.range <= far:
            raise ScaleError(
                f'{self.topic} is {message.range:g} m, outside of its {message.min_range:g} to '
                f'{far:g} m'
            )
        values, angle = prediction.values, message.field_of_view
        return from_beam(values, message.range, angle, T, frame.camera, sigma=self.sigma)


class _Height:
    """The floor, whose depth follows from the height of the camera.

    Args:
        floor: knows why a frame has no floor.
    """

    def __init__(self, floor: FloorSource) -> None:
        self._floor = floor

    def inputs(self, node: Node) -> list[Input]:
        return []

    def take(self, frame: Frame) -> Frame:
        return frame

    def anchors(self, frame: Frame, prediction: Prediction) -> Anchors:
        if frame.floor is None:
            raise ScaleError(self._floor.reason)
        return from_floor(prediction.values, prediction.kind, frame.camera, frame.floor)

    def close(self) -> None:
        pass


class _Odometry:
    """Corners of a moving camera's images, with known poses.

    Args:
        node: owner of the subscription.
        name: of the source.
        settings: parameters `anchors.*`.
    """

    def __init__(self, node: Node, name: str, settings: AnchorSettings) -> None:
        needed_by, parameter = 'anchors.sources has odometry', 'anchors.odometry.camera_pose'
        pose = settings.odometry.camera_pose
        self._poses = CameraPoses(node, needed_by, parameter, pose)
        self._tracks = Tracks()
        self._why = 'no odometry yet'  # there is no pose

    def inputs(self, node: Node) -> list[Input]:
        self._poses.start_again()
        self._tracks = Tracks()
        return [self._poses.input(node)]

    def take(self, frame: Frame) -> Frame:
        try:
            self._why = ''
            T_odom_camera = self._poses.at(frame.stamp_ns, frame.frame_id)
        except ScaleError as error:
            self._why = str(error)
            return frame
        return replace(frame, T_odom_camera=T_odom_camera)

    def anchors(self, frame: Frame, prediction: Prediction) -> Anchors:
        if frame.T_odom_camera is None:
            raise ScaleError(self._why)
        rgb = frame.rgb.cpu().numpy()
        anchors = self._tracks.update(rgb, frame.camera, frame.T_odom_camera, frame.stamp_ns)
        if not len(anchors):
            raise ScaleError('the camera has not moved enough to measure depth')
        return anchors

    def close(self) -> None:
        self._poses.close()


#: those with parameters of their own
_SOURCES: dict[str, Callable[[Node, str, AnchorSettings], _Source]] = {
    'points': _Cloud,
    'scan': _Scan,
    'range': _Beam,
    'depth': _DepthImage,
    'odometry': _Odometry,
}


def check_sources(settings: Settings) -> None:
    """Refuse a scale by anchors without anything that gives them.

    Raises:
        ConfigError: with the parameter to set.
    """
    if settings.scaling.method == 'anchors' and not any(settings.anchors.sources):
        raise ConfigError(
            "scaling.method is 'anchors' but anchors.sources names none: set it to some of "
            f'{", ".join(SOURCES)}'
        )
