# SPDX-License-Identifier: Apache-2.0
"""Publish a small camera on `image` and `camera_info`, best effort, until it is ended."""

import time

import numpy as np
import rclpy
from graph import camera, image, info, qos
from sensor_msgs.msg import CameraInfo, Image

from depth_ros.ros.process import fastdds

fastdds.prepare()
rclpy.init()
node = rclpy.create_node('lone_camera')
images = node.create_publisher(Image, 'image', qos('best_effort', 1))
infos = node.create_publisher(CameraInfo, 'camera_info', qos('best_effort', 1))
cam = camera(64, 48)
while True:
    stamp_ns = time.time_ns()
    infos.publish(info(cam, stamp_ns))
    images.publish(image(np.zeros((48, 64, 3), np.uint8), stamp_ns))
    time.sleep(0.1)
