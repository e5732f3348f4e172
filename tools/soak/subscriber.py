# SPDX-License-Identifier: Apache-2.0
"""A subscriber to all outputs of the cameras of its parameter `cameras`; to be killed."""

from __future__ import annotations

import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depth_ros.ros.process.fastdds import prepare
from depth_ros.ros.process.init import init, shutdown

OUTPUTS = {
    'depth/image': Image,
    'depth/camera_info': CameraInfo,
    'points': PointCloud2,
    'depth/colorized': Image,
}


def main() -> int:
    """Run until shutdown; returns the exit code."""
    prepare()
    if not init():
        return 0
    node = rclpy.create_node('subscriber')
    reliability: str = node.declare_parameter('reliability', 'RELIABLE').value
    qos = QoSProfile(depth=2, reliability=ReliabilityPolicy[reliability])
    cameras: list[str] = node.declare_parameter('cameras', ['front']).value
    for camera in cameras:
        for name, kind in OUTPUTS.items():
            node.create_subscription(kind, f'{camera}/{name}', lambda message: None, qos)
    try:
        rclpy.spin(node)
    except ExternalShutdownException:
        pass
    finally:
        shutdown(node)
    return 0


if __name__ == '__main__':
    sys.exit(main())
