# SPDX-License-Identifier: Apache-2.0
"""A simple, correct depth node as a reference for measurements.

Inference in the callback, a queue of 10, plain back-projection, default settings of Fast DDS.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField


class PlainNode(Node):
    """Publishes a wall at 2 m on the topics of depth_node."""

    def __init__(self) -> None:
        super().__init__('depth_node')
        self.info: CameraInfo | None = None
        self.create_subscription(CameraInfo, 'camera_info', self.on_info, 10)
        self.create_subscription(Image, 'image', self.on_image, 10)
        self.depth = self.create_publisher(Image, 'depth/image', 10)
        self.depth_info = self.create_publisher(CameraInfo, 'depth/camera_info', 10)
        self.points = self.create_publisher(PointCloud2, 'points', 10)

    def on_info(self, message: CameraInfo) -> None:
        """Store the latest camera_info."""
        self.info = message

    def on_image(self, message: Image) -> None:
        """Publish depth and cloud of an image."""
        if self.info is None:
            return
        rgb = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        rgb = self.undistorted(rgb)
        z = np.full(rgb.shape[:2], 2.0, np.float32)  # the network
        depth = Image(header=message.header, height=message.height, width=message.width)
        depth.encoding, depth.step = '32FC1', 4 * message.width
        depth.data = z.tobytes()
        self.depth.publish(depth)
        self.info.header = message.header
        self.depth_info.publish(self.info)
        self.points.publish(self.cloud(message, rgb, z))

    def undistorted(self, rgb: np.ndarray) -> np.ndarray:
        """The image of a raw camera without distortion."""
        k, d = np.array(self.info.k).reshape(3, 3), np.array(self.info.d)
        if not d.any():
            return rgb
        if self.info.distortion_model == 'equidistant':
            return cv2.fisheye.undistortImage(rgb, k, d, Knew=k)
        return cv2.undistort(rgb, k, d)

    def cloud(self, message: Image, rgb: np.ndarray, z: np.ndarray) -> PointCloud2:
        """Back-project depth (H, W) to a PointCloud2."""
        k = self.info.k
        u, v = np.meshgrid(np.arange(message.width), np.arange(message.height))
        x, y = (u - k[2]) * z / k[0], (v - k[5]) * z / k[4]
        r, g, b = (rgb[..., i].astype(np.uint32) for i in range(3))
        names = ('x', 'y', 'z', 'rgb')
        points = np.zeros(z.shape, [(n, np.float32) for n in names])
        points['x'], points['y'], points['z'] = x, y, z
        points['rgb'] = ((r << 16) | (g << 8) | b).view(np.float32)
        cloud = PointCloud2(header=message.header, height=message.height, width=message.width)
        cloud.fields = [
            PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1)
            for i, n in enumerate(names)
        ]
        cloud.point_step, cloud.row_step = 16, 16 * message.width
        cloud.data = points.tobytes()
        return cloud


def run(create: Callable[[], Node]) -> None:
    """Spin a node until shutdown."""
    rclpy.init()
    node = create()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    run(PlainNode)
