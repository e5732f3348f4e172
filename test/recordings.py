# SPDX-License-Identifier: Apache-2.0
"""Small recordings for tests: bags and pictures of noise."""

import cv2
import numpy as np


def bag(path, seed=0, frames=8, size=(48, 64)):
    """Write an MCAP bag with camera_info and rgb8 images (H, W) of noise."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    rng, (height, width) = np.random.default_rng(seed), size
    info, image = 'sensor_msgs/msg/CameraInfo', 'sensor_msgs/msg/Image'
    k = np.array([50.0, 0, width / 2, 0, 50, height / 2, 0, 0, 1])
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        infos = writer.add_connection('/cam/camera_info', info, typestore=store)
        images = writer.add_connection('/cam/image_raw', image, typestore=store)
        for frame in range(frames):
            at_ns = (1000 + frame) * 10**8
            stamp = store.types['builtin_interfaces/msg/Time'](at_ns // 10**9, at_ns % 10**9)
            header = store.types['std_msgs/msg/Header'](stamp, 'cam')
            roi = store.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
            p = np.hstack([k.reshape(3, 3), np.zeros((3, 1))]).ravel()
            message = store.types[info](
                header, height, width, 'plumb_bob', np.zeros(5), k, np.eye(3).ravel(), p, 0, 0, roi
            )
            writer.write(infos, at_ns, store.serialize_cdr(message, info))
            pixels = rng.integers(0, 256, height * width * 3, np.uint8)
            message = store.types[image](header, height, width, 'rgb8', 0, 3 * width, pixels)
            writer.write(images, at_ns, store.serialize_cdr(message, image))
    return path


def picture(path, seed=0, size=(48, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))
    return path


def film(path, frames=20, rate=10.0, size=(64, 48)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate, size)
    for k in range(frames):
        writer.write(np.full((size[1], size[0], 3), min(10 * k, 255), np.uint8))
    writer.release()
    return path
