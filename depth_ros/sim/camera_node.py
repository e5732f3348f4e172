# SPDX-License-Identifier: Apache-2.0
"""Node of a synthetic camera: `image`, `camera_info`, `true_depth`, `true_depth/camera_info`.

`true_depth` is exact, and for the camera without distortion, like the output of depth_node.
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, DepthRosError
from depth_ros.ros.inputs.camera_info import to_message
from depth_ros.ros.parameters import FOREIGN
from depth_ros.ros.process.command_line import refuse_others
from depth_ros.ros.process.fastdds import prepare
from depth_ros.ros.process.init import init, interruptible, shutdown
from depth_ros.ros.process.malloc import keep_freed_memory
from depth_ros.sim import encodings
from depth_ros.sim.sequence import SequenceSettings, render_sequence

RELIABILITY = {
    'best_effort': ReliabilityPolicy.BEST_EFFORT,
    'reliable': ReliabilityPolicy.RELIABLE,
}
PARAMETERS = {
    **dataclasses.asdict(SequenceSettings()),
    'rate': 30.0,
    'encoding': 'rgb8',  # any encoding that depth_node reads
    'frame_id': 'camera_optical_frame',
    'reliability': 'reliable',
    'count': 0,  # number of images after which the node ends; 0 never ends
}


class SyntheticCamera(Node):
    """Publishes a rendered image sequence at `rate` [Hz].

    Raises:
        ConfigError: a parameter is unknown or its value is invalid.
    """

    def __init__(self) -> None:
        super().__init__('synthetic_camera', automatically_declare_parameters_from_overrides=True)
        for name in self.get_parameters_by_prefix(''):
            if name not in PARAMETERS and not name.startswith(FOREIGN):
                raise ConfigError(f'there is no parameter {name}; choose from {list(PARAMETERS)}')
        values = {name: self._value(name) for name in PARAMETERS}
        self.settings = SequenceSettings(**{n: values[n] for n in SequenceSettings.__slots__})
        self.rate, self.count, self.published = values['rate'], values['count'], 0
        if not 0 < self.rate < math.inf:
            raise ConfigError(f'rate is {self.rate}; it must be positive and finite')
        if self.count < 0:
            raise ConfigError(
                f'count is {self.count}; set it to a number of images, or to 0 to never end'
            )
        reliability, self.encoding = values['reliability'], values['encoding']
        if reliability not in RELIABILITY:
            raise ConfigError(
                f'reliability is {reliability!r}; choose one of {sorted(RELIABILITY)}'
            )
        encodings.check(self.encoding, self.settings.width, self.settings.height)
        self._qos = QoSProfile(depth=1, reliability=RELIABILITY[reliability])
        self._header = CameraInfo().header  # shared by all messages
        self._header.frame_id = values['frame_id']

    def run(self) -> None:
        """Render, then publish until `count` images are sent or the context is shut down."""
        log, camera = self.get_logger(), self.settings.camera

        def log_progress(done: int) -> None:
            log.info(f'{done} of {self.settings.frames} images rendered')

        with interruptible():  # rendering takes seconds to minutes
            self.sequence = render_sequence(self.settings, log_progress)
        self._encoded = [encodings.encode(rgb, self.encoding) for rgb in self.sequence.rgb]
        self._image = image_message(camera, self.encoding, self._encoded[0], self._header)
        self._truth = image_message(camera, '32FC1', self.sequence.depth[0], self._header)
        self._info = to_message(camera, self._header)
        self._truth_info = to_message(camera.undistorted(), self._header)
        if camera.is_distorted:
            self._info.d = list(camera.distortion)
        # only now, so that a subscriber does not find a publisher that is still rendering
        self._image_publisher = self.create_publisher(Image, 'image', self._qos)
        self._info_publisher = self.create_publisher(CameraInfo, 'camera_info', self._qos)
        self._truth_publisher = self.create_publisher(Image, 'true_depth', 1)
        self._truth_info_publisher = self.create_publisher(CameraInfo, 'true_depth/camera_info', 1)
        log.info(f'publishing {self.settings} at {self.rate:g} Hz; {camera}')
        self.create_timer(1 / self.rate, self._publish)
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        while self.context.ok() and not 0 < self.count <= self.published:
            executor.spin_once(timeout_sec=1.0)

    def _value(self, name: str) -> Any:
        default = PARAMETERS[name]
        if not self.has_parameter(name):
            self.declare_parameter(name, default)
        value = self.get_parameter(name).value
        # rate:=30 is an integer, and a frame_id may look like a number
        types = {float: (float, int), str: (str, int, float)}.get(type(default), type(default))
        if not isinstance(value, types) or isinstance(value, bool) != isinstance(default, bool):
            raise ConfigError(f'{name} is {value!r}; write it like {default!r}')
        return type(default)(value)

    def _publish(self) -> None:
        index = self.sequence.index(self.published)
        self._header.stamp = self.get_clock().now().to_msg()
        fill(self._image, self._encoded[index])
        self._info_publisher.publish(self._info)
        self._image_publisher.publish(self._image)
        if self._truth_publisher.get_subscription_count():
            fill(self._truth, self.sequence.depth[index])
            self._truth_info_publisher.publish(self._truth_info)
            self._truth_publisher.publish(self._truth)
        self.published += 1


def image_message(camera: Camera, encoding: str, rows: NDArray[np.generic], header: Any) -> Image:
    """Image message of the camera's size with a buffer of the size of `rows`, to be reused."""
    message = Image(height=camera.height, width=camera.width, encoding=encoding, header=header)
    message.step = rows[0].nbytes
    message.data = array('B', bytes(rows.nbytes))
    return message


def fill(message: Image, pixels: NDArray[np.generic]) -> None:
    """Copy `pixels` into the buffer of the message."""
    # assigning a numpy array to `data` would check it byte by byte
    np.copyto(np.frombuffer(message.data, np.uint8), pixels.reshape(-1).view(np.uint8))


def main() -> int:
    """Run the camera; returns the exit code."""
    keep_freed_memory()
    refuse_others('synthetic_camera', ((*item, '') for item in PARAMETERS.items()))
    prepare()
    if not init():
        return 0
    node = None
    try:
        node = SyntheticCamera()
        node.run()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except DepthRosError as error:
        rclpy.logging.get_logger('synthetic_camera').fatal(str(error))
        return 2
    except RuntimeError:  # of rclpy
        if node is None or node.context.ok():
            raise  # otherwise it was shut down while publishing
    finally:
        shutdown(node)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
