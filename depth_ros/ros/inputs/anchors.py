# SPDX-License-Identifier: Apache-2.0
"""Anchors for the images of one camera, from the sensors and the mounting of the robot."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, Range

from depth_ros.core.errors import ConfigError, DepthRosError, ScaleError
from depth_ros.core.stamps import nanoseconds
from depth_ros.core.types import Anchors, Frame, Prediction
from depth_ros.parameters.anchors import AnchorSettings
from depth_ros.pipeline.anchors.beam import from_beam
from depth_ros.pipeline.anchors.floor import LEVEL, Floor, from_floor
from depth_ros.pipeline.anchors.points import Points, from_points
from depth_ros.pipeline.anchors.tracks import Tracks
from depth_ros.pipeline.two_views.poses import Pose4x4
from depth_ros.ros.inputs.odometry import CameraPoses
from depth_ros.ros.inputs.sensors import cloud_points, depth_image_points, laser_points
from depth_ros.ros.inputs.subscription import Input
from depth_ros.ros.inputs.tf import PoseSource, Transforms


class AnchorSources:
    """All sources of anchors that `anchors.sources` names, for one camera.

    The executor's thread stores messages; the worker's thread calls the object.

    Args:
        node: owner of the subscriptions.
        settings: parameters `anchors.*`.

    Raises:
        ConfigError: a pose is neither given nor available, or a message type is not installed.
    """

    def __init__(self, node: Node, settings: AnchorSettings) -> None:
        self.settings = settings
        #: why a source gave none for the last image; without those that did
        self.reasons: dict[str, str] = {}
        self._made: dict[str, _Sensor | _Height | _Odometry] = {}
        try:
            for name in filter(None, settings.sources):
                self._made[name] = _SOURCES[name](node, name, settings)
        except ConfigError:
            self.close()
            raise

    def inputs(self, node: Node) -> list[Input]:
        """Subscribe to all topics."""
        return [found for source in self._made.values() for found in source.inputs(node)]

    def __call__(self, frame: Frame, prediction: Prediction) -> dict[str, Anchors]:
        """Anchors of a frame by source, without sources that have none or nothing new.

        Args:
            frame: undistorted.
            prediction: of the frame.
        """
        found = {}
        for name, source in self._made.items():
            try:
                anchors = source.anchors(frame, prediction)
            except DepthRosError as error:
                self.reasons[name] = str(error)
                continue
            if anchors is not None:
                self.reasons.pop(name, None)
                if len(anchors):
                    found[name] = anchors
        return found

    def close(self) -> None:
        """Unsubscribe from TF."""
        for source in self._made.values():
            source.close()


class _Sensor:
    """A sensor whose messages become anchors of the next image.

    Args:
        node: owner of the subscription.
        name: of the source.
        settings: parameters `anchors.*`.
    """

    def __init__(self, node: Node, name: str, settings: AnchorSettings) -> None:
        self.name = name
        self.topic = f'anchors/{name}'
        self.own: Any = getattr(settings, name)
        self.max_offset_s = settings.max_offset
        meaning = "the sensor's pose in the optical frame of the camera"
        self._sensor_pose = PoseSource(node, f'anchors.{name}.pose', self.own.pose, meaning)
        self._newest: Any = None
        self._info: Any = None
        self._used: Any = None

    def inputs(self, node: Node) -> list[Input]:
        self._newest = self._info = self._used = None
        kind = {'points': PointCloud2, 'scan': LaserScan, 'range': Range, 'depth': Image}
        found = [Input(node, kind[self.name], self.topic, self._put, 1)]
        if self.name == 'depth':
            info = f'{self.topic}/camera_info'
            found.append(Input(node, CameraInfo, info, self._put_info, 1, once=True))
        return found

    def _put(self, message: Any) -> None:
        self._newest = message

    def _put_info(self, message: Any) -> None:
        self._info = message

    def anchors(self, frame: Frame, prediction: Prediction) -> Anchors | None:
        message = self._newest
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
        if self.name == 'range':
            return self._beam(message, T, frame, prediction)
        return from_points(self._points(message), T, frame.camera, sigma=self.own.sigma)

    def _points(self, message: Any) -> Points:
        if self.name == 'depth':
            if self._info is None:
                raise ScaleError(f'no {self.topic}/camera_info yet')
            return depth_image_points(message, self._info)
        return cloud_points(message) if self.name == 'points' else laser_points(message)

    def _beam(self, message: Any, T: Pose4x4, frame: Frame, prediction: Prediction) -> Anchors:
        far = message.max_range or math.inf
        if not message.min_range <= message.range <= far:
            raise ScaleError(
                f'{self.topic} is {message.range:g} m, outside of its {message.min_range:g} to '
                f'{far:g} m'
            )
        values, angle = prediction.values, message.field_of_view
        return from_beam(values, message.range, angle, T, frame.camera, sigma=self.own.sigma)

    def _pose(self, frame: Frame, sensor_frame: str) -> Pose4x4:
        if self._sensor_pose.fixed is None and frame.frame_id == sensor_frame:
            return np.eye(4)
        return self._sensor_pose.between(frame.frame_id, sensor_frame, frame.stamp_ns)

    def close(self) -> None:
        self._sensor_pose.close()


class _Height:
    """The floor, whose depth follows from the height of the camera.

    Args:
        node: owner of the subscription to TF.
        name: of the source.
        settings: parameters `anchors.*`.
    """

    def __init__(self, node: Node, name: str, settings: AnchorSettings) -> None:
        own = settings.height
        self.frame = own.frame
        self._floor: Floor | None = None
        self._transforms: Transforms | None = None
        if own.height:
            pitch = math.radians(own.pitch)
            down = np.array((0.0, math.cos(pitch), math.sin(pitch)))
            self._floor = Floor(own.height, down if own.pitch else LEVEL)
        else:
            instead = 'anchors.height.height to the height of the camera [m]'
            self._transforms = Transforms(node, instead)

    def inputs(self, node: Node) -> list[Input]:
        return []

    def anchors(self, frame: Frame, prediction: Prediction) -> Anchors:
        floor = self._floor
        if self._transforms is not None:
            T = self._transforms.between(self.frame, frame.frame_id, frame.stamp_ns)
            height = float(T[2, 3])
            if height <= 0:
                raise ScaleError(
                    f'TF has the camera {height:g} m above {self.frame}; set anchors.height.frame '
                    'to a frame on the floor, or anchors.height.height'
                )
            floor = Floor(height, -T[2, :3])
        assert floor is not None
        return from_floor(prediction.values, prediction.kind, frame.camera, floor)

    def close(self) -> None:
        if self._transforms is not None:
            self._transforms.close()


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

    def inputs(self, node: Node) -> list[Input]:
        self._poses.start_again()
        self._tracks = Tracks()
        return [self._poses.input(node)]

    def anchors(self, frame: Frame, prediction: Prediction) -> Anchors:
        T_odom_camera = self._poses.at(frame.stamp_ns, frame.frame_id)
        rgb = frame.rgb.cpu().numpy()
        anchors = self._tracks.update(rgb, frame.camera, T_odom_camera, frame.stamp_ns)
        if not len(anchors):
            raise ScaleError('the camera has not moved enough to measure depth')
        return anchors

    def close(self) -> None:
        self._poses.close()


_SOURCES: dict[str, Callable[[Node, str, AnchorSettings], _Sensor | _Height | _Odometry]] = {
    **dict.fromkeys(('points', 'scan', 'range', 'depth'), _Sensor),
    'height': _Height,
    'odometry': _Odometry,
}
