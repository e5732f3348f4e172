# SPDX-License-Identifier: Apache-2.0
"""What a bag has besides its images: TF, and the sensors and odometry that give anchors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from depth_ros.core.errors import ConfigError, ImageError
from depth_ros.core.types import Frame
from depth_ros.messages.anchors import (
    SENSORS,
    DepthImage,
    Height,
    MovingCamera,
    Sensor,
    Source,
    Sources,
)
from depth_ros.messages.camera_info import info_topic
from depth_ros.messages.floor import FloorSource
from depth_ros.messages.poses import OdometryPoses, PoseSource
from depth_ros.offline.bag_reader import INFO, decoded
from depth_ros.offline.bag_tf import TF, BagTransforms
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.floor import needs_floor

ODOMETRY = 'odom'
#: topic of depth_node -> types of messages
TYPES: Mapping[str, str] = {
    'anchors/points': 'sensor_msgs/msg/PointCloud2',
    'anchors/scan': 'sensor_msgs/msg/LaserScan',
    'anchors/range': 'sensor_msgs/msg/Range',
    'anchors/depth': 'sensor_msgs/msg/Image',
    ODOMETRY: 'nav_msgs/msg/Odometry',
}
KEPT = 20  #: messages of a sensor
#: how much later than an image a measurement may be recorded that is next to it in time [s]
LOOKAHEAD_S = 0.1


def is_needed(settings: Settings) -> bool:
    """Whether the parameters need anything of a bag besides its images."""
    return any(settings.anchors.sources) or needs_floor(settings)


class BagSensors:
    """Gives the frames of a bag their floor, and anchors.

    `Bag.images` calls `begin` and `put`, in the order of the recording.

    Args:
        settings: of the pipeline.
        topics: topic of depth_node -> topic of the bag, where it is not the only one of its type.

    Attributes:
        anchors: of the frame that `take` was given last.
    """

    def __init__(self, settings: Settings, topics: Mapping[str, str]) -> None:
        self.settings = settings
        self.topics = topics
        self._tf = BagTransforms()
        self._doubts: set[str] = set()
        self._floor = FloorSource(lambda instead: self._tf)
        self._floor.listen(settings)
        self._puts: dict[str, Callable[[Any], None]] = {TF: self._tf.put}
        self._wanted: dict[str, Callable[[Any], None]] = {}
        made: dict[str, Source] = {}
        for name in filter(None, settings.anchors.sources):
            if name == 'height':
                made[name] = Height(lambda: self._floor.reason)
            elif name == 'odometry':
                made[name] = self._moving()
            else:
                made[name] = self._sensor(name)
        self.anchors = Sources(made)
        self._infos = {
            f'anchors/{name}': source.put_info
            for name, source in made.items()
            if isinstance(source, DepthImage)
        }

    def _pose(self, parameter: str, values: list[float]) -> PoseSource:
        return PoseSource(parameter, values, lambda: self._tf)

    def _moving(self) -> MovingCamera:
        values = self.settings.anchors.odometry.camera_pose
        poses = OdometryPoses(ODOMETRY, self._pose('anchors.odometry.camera_pose', values))
        self._wanted[ODOMETRY] = poses.put
        return MovingCamera(poses)

    def _sensor(self, name: str) -> Sensor:
        topic, settings = f'anchors/{name}', self.settings.anchors
        own = getattr(settings, name)
        pose = self._pose(f'anchors.{name}.pose', own.pose)
        sensor = SENSORS[name](topic, pose, own.sigma, settings.max_offset, KEPT)
        self._wanted[topic] = sensor.put
        return sensor

    def begin(self, bag: Any, path: Path, image_topic: str) -> list[Any]:
        """Find the topics.

        Args:
            bag: the open reader.
            path: of the bag, for messages.
            image_topic: of the images, which is no sensor.

        Returns:
            The connections whose messages `put` is to be given.

        Raises:
            ConfigError: a sensor has no topic, or several.
        """
        self._tf.put_static(bag)
        for topic, put in self._wanted.items():
            found = self._find(bag, path, topic, image_topic)
            self._puts[found] = put
            if topic in self._infos:
                infos = {c.topic for c in bag.connections if c.msgtype == INFO}
                self._puts[info_topic(found, infos)] = self._infos[topic]
        return [c for c in bag.connections if c.topic in self._puts]

    def _find(self, bag: Any, path: Path, topic: str, image_topic: str) -> str:
        kind = TYPES[topic]
        known: set[str] = {c.topic for c in bag.connections if c.msgtype == kind} - {image_topic}
        named = self.topics.get(topic, '')
        if named in known:
            return named
        if topic == 'anchors/depth':
            known = {name for name in known if 'depth' in name.lower()}
        if len(known) == 1 and not named:
            return next(iter(known))
        what = f'no {kind} {named}' if named else f'{len(known) or "no"} topics of {kind}'
        raise ConfigError(
            f'{path} has {what} for {topic}; name one with -r {topic}:=TOPIC: '
            f'{", ".join(sorted(known)) or "none"}'
        )

    def put(self, bag: Any, connection: Any, raw: bytes) -> None:
        """Keep a message of one of these connections, if it can be read."""
        try:
            message = decoded(bag, connection, raw)
        except ImageError as error:
            self._doubts.add(str(error))
            return
        self._puts[connection.topic](message)

    def take(self, frame: Frame) -> Frame:
        """The frame with what is known of it now: floor and pose."""
        floor = self._floor(frame, self.settings)
        if self._floor.reason:
            self._doubts.add(self._floor.reason)
        return self.anchors.take(replace(frame, floor=floor) if floor else frame)

    def doubts(self) -> set[str]:
        """What could not be read or found so far, with the reasons."""
        silent = {f'{name}: {text}' for name, text in self.anchors.reasons.items()}
        return self._doubts | silent
