# SPDX-License-Identifier: Apache-2.0
"""Subscriptions to the sensors that give anchors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, Range

from depth_ros.core.errors import ConfigError
from depth_ros.messages.anchors import (
    SENSORS,
    DepthImage,
    Height,
    MovingCamera,
    Sensor,
    Source,
    Sources,
)
from depth_ros.messages.floor import FloorSource
from depth_ros.parameters.anchors import AnchorSettings
from depth_ros.ros.inputs.odometry import CameraPoses
from depth_ros.ros.inputs.subscription import Input
from depth_ros.ros.inputs.tf import pose_source

TYPES: Mapping[str, type] = {
    'points': PointCloud2, 'scan': LaserScan, 'range': Range, 'depth': Image,
}  # fmt: skip
KEPT = 5  #: messages of a sensor


class AnchorSources(Sources):
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
        self._inputs: list[Callable[[Node], Input]] = []
        made: dict[str, Source] = {}
        super().__init__(made)
        try:
            for name in filter(None, settings.sources):
                if name == 'height':
                    made[name] = Height(lambda: floor.reason)
                elif name == 'odometry':
                    made[name] = self._moving(node, settings)
                else:
                    made[name] = self._sensor(node, name, settings)
        except ConfigError:
            self.close()
            raise

    def _moving(self, node: Node, settings: AnchorSettings) -> MovingCamera:
        needed_by, parameter = 'anchors.sources has odometry', 'anchors.odometry.camera_pose'
        poses = CameraPoses(node, needed_by, parameter, settings.odometry.camera_pose)
        self._inputs.append(poses.input)
        return MovingCamera(poses)

    def _sensor(self, node: Node, name: str, settings: AnchorSettings) -> Sensor:
        topic, own = f'anchors/{name}', getattr(settings, name)
        meaning = "the sensor's pose in the optical frame of the camera"
        pose = pose_source(node, f'anchors.{name}.pose', own.pose, meaning)
        sensor = SENSORS[name](topic, pose, own.sigma, settings.max_offset, KEPT)
        self._inputs.append(lambda node: Input(node, TYPES[name], topic, sensor.put, 1))
        if isinstance(sensor, DepthImage):
            info, put = f'{topic}/camera_info', sensor.put_info
            self._inputs.append(lambda node: Input(node, CameraInfo, info, put, 1, once=True))
        return sensor

    def inputs(self, node: Node) -> list[Input]:
        """Forget what was received, and subscribe to all topics."""
        self.start_again()
        return [subscribe(node) for subscribe in self._inputs]
