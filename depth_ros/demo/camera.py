# SPDX-License-Identifier: Apache-2.0
"""A synthetic camera: image, camera_info and the exact depth of every pixel."""

from __future__ import annotations

from array import array
from typing import Any

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from depth_ros.camera import Camera
from depth_ros.demo import scene
from depth_ros.errors import ConfigError
from depth_ros.ros.cameras import to_message
from depth_ros.ros.middleware import prepare

#: encoding: (bytes per pixel, OpenCV conversion from rgb8)
ENCODINGS = {
    'rgb8': (3, None),
    'bgr8': (3, cv2.COLOR_RGB2BGR),
    'mono8': (1, cv2.COLOR_RGB2GRAY),
}
PARAMETERS = {
    'width': 640,
    'height': 480,
    'hfov_deg': 70.0,
    'rate': 30.0,
    'frames': 60,  # rendered before the start, then played to and fro; vga takes 2.2 MB each
    'encoding': 'rgb8',
    'frame_id': 'camera_optical_frame',
    'reliability': 'reliable',
    'count': 0,  # images after which the node ends; 0 never ends
}


class SyntheticCamera(Node):
    """Renders `frames` pictures of the scene and plays them at `rate`.

    Raises:
        ConfigError: a parameter has a value that cannot work.
    """

    def __init__(self) -> None:
        """Declare and check the parameters; `play` does the rest."""
        super().__init__('synthetic_camera')
        values = {name: self._value(name) for name in PARAMETERS}
        for name in ('width', 'height', 'hfov_deg', 'rate', 'frames'):
            if values[name] <= 0:
                raise ConfigError(f'{name} is {values[name]}; it must be positive')
        for name, choices in (
            ('encoding', sorted(ENCODINGS)),
            ('reliability', ['best_effort', 'reliable']),
        ):
            if values[name] not in choices:
                raise ConfigError(f'{name} is {values[name]!r}; choose one of {choices}')
        self.camera = scene.camera_of(values['width'], values['height'], values['hfov_deg'])
        self.rate, self.count = values['rate'], values['count']
        self.frames, self.published = values['frames'], 0
        self._pictures: list[tuple[NDArray[np.uint8], NDArray[np.float32]]] = []
        channels, self._conversion = ENCODINGS[values['encoding']]
        frame_id = values['frame_id']
        self._image = image_message(self.camera, values['encoding'], channels, frame_id)
        self._truth = image_message(self.camera, '32FC1', 4, frame_id)
        self._info = to_message(self.camera, self._image.header)
        best_effort = values['reliability'] == 'best_effort'
        self._policy = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE

    def play(self) -> None:
        """Render, then publish until `count` images are out or the context is shut down."""
        for i in range(self.frames):
            if not self.context.ok():
                return
            if i % 20 == 0:
                self.get_logger().info(f'rendering picture {i + 1} of {self.frames}')
            rgb, depth = scene.render(self.camera, i / self.rate)
            if self._conversion is not None:
                rgb = cv2.cvtColor(rgb, self._conversion)
            self._pictures.append((rgb, depth))
        # only now, so that nobody waits for images of a publisher that is still rendering
        qos = QoSProfile(depth=1, reliability=self._policy)
        self._image_publisher = self.create_publisher(Image, 'image', qos)
        self._info_publisher = self.create_publisher(CameraInfo, 'camera_info', qos)
        self._truth_publisher = self.create_publisher(Image, 'true_depth', 1)
        self.get_logger().info(f'publishing {self.camera} at {self.rate:g} Hz')
        self.create_timer(1 / self.rate, self._publish)
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        while self.context.ok() and not 0 < self.count <= self.published:
            executor.spin_once(timeout_sec=1.0)

    def _value(self, name: str) -> Any:
        default = PARAMETERS[name]
        # dynamic, so that rate:=30 is as good as rate:=30.0
        descriptor = ParameterDescriptor(dynamic_typing=True)
        value = self.declare_parameter(name, default, descriptor).value
        try:
            return type(default)(value)
        except (TypeError, ValueError):
            raise ConfigError(f'{name} is {value!r}; write it like {default!r}') from None

    def _publish(self) -> None:
        step = self.published % max(1, 2 * self.frames - 2)
        rgb, depth = self._pictures[min(step, 2 * self.frames - 2 - step)]
        stamp = self.get_clock().now().to_msg()
        for message in (self._image, self._info, self._truth):
            message.header.stamp = stamp
        fill(self._image, rgb)
        self._info_publisher.publish(self._info)
        self._image_publisher.publish(self._image)
        if self._truth_publisher.get_subscription_count():
            fill(self._truth, depth)
            self._truth_publisher.publish(self._truth)
        self.published += 1


def image_message(camera: Camera, encoding: str, bytes_per_pixel: int, frame_id: str) -> Image:
    """An Image of the camera's size with a buffer of its own, to be filled again and again."""
    message = Image(height=camera.height, width=camera.width, encoding=encoding)
    message.header.frame_id = frame_id
    message.step = camera.width * bytes_per_pixel
    message.data = array('B', bytes(message.step * camera.height))
    return message


def fill(message: Image, pixels: NDArray[np.generic]) -> None:
    """Copy `pixels` into the message's buffer."""
    # never hand numpy arrays to `data`: its setter walks them byte by byte
    np.copyto(np.frombuffer(message.data, np.uint8), pixels.reshape(-1).view(np.uint8))


def main() -> int:
    """Run the camera; returns the exit code."""
    prepare()
    rclpy.init()
    node = None
    try:
        node = SyntheticCamera()
        node.play()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except ConfigError as error:
        rclpy.logging.get_logger('synthetic_camera').fatal(str(error))
        return 2
    finally:
        # an orderly end: a participant that is not closed leaves its segment in /dev/shm
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
