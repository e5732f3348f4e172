# SPDX-License-Identifier: Apache-2.0
"""A camera node with little load: it publishes a few noisy images in turn, with camera_info."""

from __future__ import annotations

from array import array

import numpy as np
import torch
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from depth_ros.pipeline.trial_frame import trial_frame
from depth_ros.ros.inputs.camera_info import to_message
from depth_ros.ros.process.fastdds import prepare
from tools.bench.lenses import LENSES
from tools.bench.plain_node import run

IMAGES = 4


class Source(Node):
    """Publishes `image` and `camera_info`.

    Parameters: width, height [px], rate [Hz], and lens, a key of `LENSES` for a raw image. Both
    messages have the same stamp, set just before publishing.
    """

    def __init__(self) -> None:
        super().__init__('source')
        dynamic = ParameterDescriptor(dynamic_typing=True)
        width, height, rate, lens = (
            self.declare_parameter(name, value, dynamic).value
            for name, value in (('width', 640), ('height', 480), ('rate', 30.0), ('lens', ''))
        )
        frame = trial_frame(torch.device('cpu'), width, height)
        rgb = frame.rgb.numpy()
        self.messages = [
            Image(
                height=height,
                width=width,
                encoding='rgb8',
                step=3 * width,
                data=array('B', np.roll(rgb, 16 * k, axis=1).tobytes()),
            )
            for k in range(IMAGES)
        ]
        for message in self.messages:
            message.header.frame_id = 'camera_optical_frame'
        self.info = to_message(frame.camera, self.messages[0].header)
        if lens:
            self.info.distortion_model, self.info.d = lens, list(LENSES[lens])
        self.published = 0
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self.image_publisher = self.create_publisher(Image, 'image', qos)
        self.info_publisher = self.create_publisher(type(self.info), 'camera_info', qos)
        self.create_timer(1 / rate, self.publish)

    def publish(self) -> None:
        """Publish the next image."""
        message = self.messages[self.published % IMAGES]
        message.header.stamp = self.info.header.stamp = self.get_clock().now().to_msg()
        self.info_publisher.publish(self.info)
        self.image_publisher.publish(message)
        self.published += 1


def main() -> None:
    """Run until shutdown."""
    prepare()
    run(Source)


if __name__ == '__main__':
    main()
