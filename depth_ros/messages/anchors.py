# SPDX-License-Identifier: Apache-2.0
"""Anchors for the images of one camera, from messages of sensors and the mounting of the robot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from depth_ros.core.errors import DepthRosError, ScaleError
from depth_ros.core.stamps import nanoseconds
from depth_ros.core.types import Anchors, Frame, Prediction
from depth_ros.messages.poses import OdometryPoses, PoseSource
from depth_ros.messages.sensors import cloud_points, depth_image_points, laser_points
from depth_ros.pipeline.anchors.beam import from_beam
from depth_ros.pipeline.anchors.floor import from_floor
from depth_ros.pipeline.anchors.points import Points, from_points
from depth_ros.pipeline.anchors.tracks import Tracks
from depth_ros.pipeline.two_views.poses import Pose4x4


class Source:
    """Where anchors come from."""

    def start_again(self) -> None:
        """Forget what was received."""

    def take(self, frame: Frame) -> Frame:
        """Choose what belongs to a frame; the frame, with its pose if that is known."""
        return frame

    def anchors(self, frame: Frame, prediction: Prediction) -> Anchors | None:
        """Anchors of that frame, or None for nothing new.

        Raises:
            DepthRosError: there are none; the message says why.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Unsubscribe from TF."""


class Sources:
    """All sources of anchors of one camera.

    Args:
        sources: by name.

    Attributes:
        reasons: why sources gave none for the last image, by name; replaced as a whole.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.reasons: Mapping[str, str] = {}
        self._sources = sources

    def start_again(self) -> None:
        """Forget what was received."""
        self.reasons = {}
        for source in self._sources.values():
            source.start_again()

    def take(self, frame: Frame) -> Frame:
        """Choose the messages that belong to a frame, before the network takes its time.

        Returns:
            The frame, with its pose if odometry is one of the sources and knows it.
        """
        for source in self._sources.values():
            frame = source.take(frame)
        return frame

    def __call__(self, frame: Frame, prediction: Prediction) -> dict[str, Anchors]:
        """Anchors of a frame by source, without sources that have none or nothing new.

        Args:
            frame: of `take`, undistorted.
            prediction: of the frame.
        """
        found, reasons = {}, dict(self.reasons)
        for name, source in self._sources.items():
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
        for source in self._sources.values():
            source.close()


class Sensor(Source):
    """A sensor whose messages become anchors of the images that are next to them in time.

    One thread may store messages while another uses them.

    Args:
        topic: of its messages, for the reasons.
        pose: of the sensor in the optical frame of the camera.
        sigma: standard deviation of a distance [m].
        max_offset_s: between the stamps of a message and of an image [s].
        kept: so many messages, of which the one next to an image in time is used.
    """

    def __init__(
        self, topic: str, pose: PoseSource, sigma: float, max_offset_s: float, kept: int
    ) -> None:
        self.topic, self.sigma, self.max_offset_s, self.kept = topic, sigma, max_offset_s, kept
        self._sensor_pose = pose
        self.start_again()

    def start_again(self) -> None:
        """Forget what was received."""
        self._recent: list[Any] = []  # replaced as a whole, as two threads use it
        self._taken: Any = None
        self._used: Any = None

    def put(self, message: Any) -> None:
        """Keep a message."""
        self._recent = [*self._recent[1 - self.kept :], message]

    def take(self, frame: Frame) -> Frame:
        """See `Source.take`."""
        recent = self._recent
        apart = [abs(frame.stamp_ns - nanoseconds(m.header.stamp)) for m in recent]
        self._taken = recent[apart.index(min(apart))] if recent else None
        return frame

    def anchors(self, frame: Frame, prediction: Prediction) -> Anchors | None:
        """Of the message that was taken; None if it has been used.

        Raises:
            ScaleError: there is none, or it cannot be used with this frame.
        """
        message = self._taken
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

    def _measured(self, message: Any, T: Pose4x4, frame: Frame, prediction: Prediction) -> Anchors:
        """Anchors of a message; T is the pose of the sensor in the optical frame."""
        return from_points(self._points(message), T, frame.camera, sigma=self.sigma)

    def _points(self, message: Any) -> Points:
        raise NotImplementedError

    def _pose(self, frame: Frame, sensor_frame: str) -> Pose4x4:
        if self._sensor_pose.fixed is None and frame.frame_id == sensor_frame:
            return np.eye(4)
        return self._sensor_pose.between(frame.frame_id, sensor_frame, frame.stamp_ns)

    def close(self) -> None:
        """Unsubscribe from TF."""
        self._sensor_pose.close()


class Cloud(Sensor):
    """sensor_msgs/PointCloud2."""

    def _points(self, message: Any) -> Points:
        return cloud_points(message)


class Scan(Sensor):
    """sensor_msgs/LaserScan."""

    def _points(self, message: Any) -> Points:
        return laser_points(message)


class DepthImage(Sensor):
    """sensor_msgs/Image of depth, and its camera_info."""

    def start_again(self) -> None:
        """Forget what was received."""
        super().start_again()
        self._info: Any = None

    def put_info(self, message: Any) -> None:
        """Keep its sensor_msgs/CameraInfo."""
        self._info = message

    def _points(self, message: Any) -> Points:
        if self._info is None:
            raise ScaleError(f'no {self.topic}/camera_info yet')
        return depth_image_points(message, self._info)


class Beam(Sensor):
    """sensor_msgs/Range."""

    def _measured(self, message: Any, T: Pose4x4, frame: Frame, prediction: Prediction) -> Anchors:
        far = message.max_range or math.inf
        if not message.min_range <= message.range <= far:
            raise ScaleError(
                f'{self.topic} is {message.range:g} m, outside of its {message.min_range:g} to '
                f'{far:g} m'
            )
        values, angle = prediction.values, message.field_of_view
        return from_beam(values, message.range, angle, T, frame.camera, sigma=self.sigma)


#: sources with a topic of their own
SENSORS: Mapping[str, type[Sensor]] = {
    'points': Cloud, 'scan': Scan, 'range': Beam, 'depth': DepthImage,
}  # fmt: skip


class Height(Source):
    """The floor, whose depth follows from the height of the camera.

    Args:
        reason: returns why a frame has no floor.
    """

    def __init__(self, reason: Callable[[], str]) -> None:
        self._reason = reason

    def anchors(self, frame: Frame, prediction: Prediction) -> Anchors:
        """See `Source.anchors`."""
        if frame.floor is None:
            raise ScaleError(self._reason())
        return from_floor(
            prediction.values, prediction.kind, frame.camera, frame.floor, prediction.normals
        )


class MovingCamera(Source):
    """Corners of a moving camera's images, with known poses.

    Args:
        poses: of the camera.
    """

    def __init__(self, poses: OdometryPoses) -> None:
        self._poses = poses
        self.start_again()

    def start_again(self) -> None:
        """Forget what was received."""
        self._poses.start_again()
        self._tracks = Tracks()
        self._why = 'no odometry yet'  # there is no pose

    def take(self, frame: Frame) -> Frame:
        """See `Source.take`."""
        try:
            self._why = ''
            T_odom_camera = self._poses.at(frame.stamp_ns, frame.frame_id)
        except ScaleError as error:
            self._why = str(error)
            return frame
        return replace(frame, T_odom_camera=T_odom_camera)

    def anchors(self, frame: Frame, prediction: Prediction) -> Anchors:
        """See `Source.anchors`."""
        if frame.T_odom_camera is None:
            raise ScaleError(self._why)
        rgb = frame.rgb.cpu().numpy()
        anchors = self._tracks.update(rgb, frame.camera, frame.T_odom_camera, frame.stamp_ns)
        if not len(anchors):
            raise ScaleError('the camera has not moved enough to measure depth')
        return anchors

    def close(self) -> None:
        """Unsubscribe from TF."""
        self._poses.close()
