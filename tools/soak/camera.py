# SPDX-License-Identifier: Apache-2.0
"""A camera driver that publishes flat grey images, records them, and changes on demand.

Its namespace is its name. It reads `NAME.json` in the folder of its parameter `folder`, a `Look`,
again when it changes, and appends one line for each image to `NAME.sent`, before it is published.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import sys
import time
from array import array
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from depth_ros.ros.process.fastdds import prepare
from depth_ros.ros.process.init import init, shutdown

#: those in which a flat grey image keeps its level
BYTES_PER_PIXEL = {
    'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1, 'bayer_rggb8': 1, 'bayer_gbrg8': 1,
    'yuv422_yuy2': 2, 'nv12': 1, 'mono16': 2, 'rgb16': 6,
}  # fmt: skip
#: least level of an image of 16 bits: it needs all of them, so that the node divides it by 256
LEAST_OF_16_BITS = 65
DISTORTION = (-0.05, 0.01, 0.0, 0.0, 0.0)
LEVELS = 51  #: that are used; neighbours are 5 apart
LONGEST_SLEEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Look:
    """What a camera publishes.

    Args:
        width: of the image [px], even.
        height: of the image [px], even.
        encoding: one of `BYTES_PER_PIXEL`.
        focal: focal length by the width of the image.
        distorted: whether the lens has distortion.
        rate: images [Hz]; 0 for none.
        infos: camera_info messages for each image.
        offset_s: of the stamps against the time.
        reliable: whether it publishes reliable; read at the start only.
    """

    width: int = 320
    height: int = 240
    encoding: str = 'rgb8'
    focal: float = 0.8
    distorted: bool = False
    rate: float = 10.0
    infos: int = 1
    offset_s: float = 0.0
    reliable: bool = True

    def write(self, path: Path) -> None:
        """Write it as JSON; a reader sees the old or the new one."""
        new = path.with_suffix('.new')
        new.write_text(json.dumps(dataclasses.asdict(self)))
        new.replace(path)


def level_in(encoding: str, level: int) -> int:
    """The level, or the least one that the encoding shows as it is."""
    return max(level, LEAST_OF_16_BITS) if encoding.endswith('16') else level


def image(look: Look, level: int, header: Any) -> Image:
    """A flat grey image; `level` is 0..255."""
    step = look.width * BYTES_PER_PIXEL[look.encoding]
    data = bytes([level]) * (step * look.height)
    if look.encoding.endswith('16'):
        data = bytes([0, level]) * (step * look.height // 2)
    luma = round(16 + level * 219 / 255)
    if look.encoding == 'yuv422_yuy2':
        data = bytes([luma, 128]) * (look.width * look.height)
    elif look.encoding == 'nv12':
        data = bytes([luma]) * (step * look.height) + bytes([128]) * (step * look.height // 2)
    message = Image(header=header, height=look.height, width=look.width, encoding=look.encoding)
    message.step, message.data = step, array('B', data)
    return message


def compressed(look: Look, level: int, header: Any) -> CompressedImage:
    """The same image as JPEG, or PNG if it has 16 bits."""
    codec = 'png' if look.encoding.endswith('16') else 'jpeg'
    message = CompressedImage(header=header, format=f'{look.encoding}; {codec} compressed bgr8')
    message.data = array('B', _file(look.width, look.height, look.encoding, level, codec))
    return message


@lru_cache(maxsize=256)
def _file(width: int, height: int, encoding: str, level: int, codec: str) -> bytes:
    grey = (height, width) if encoding.startswith('mono') else (height, width, 3)
    pixels = (
        np.full(grey, level << 8, np.uint16) if codec == 'png' else np.full(grey, level, np.uint8)
    )
    content: bytes = cv2.imencode(f'.{codec}', pixels)[1].tobytes()
    return content


def info(look: Look, header: Any) -> CameraInfo:
    """The camera_info of the image; square pixels, principal point in the centre."""
    f, cx, cy = look.focal * look.width, (look.width - 1) / 2, (look.height - 1) / 2
    message = CameraInfo(header=header, width=look.width, height=look.height)
    message.distortion_model, message.d = 'plumb_bob', list(DISTORTION) if look.distorted else []
    message.k = [f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def run(node: Node) -> None:
    """Publish until the context is shut down."""
    name = node.get_namespace().strip('/')
    folder = Path(node.declare_parameter('folder', '.').value)
    path = folder / f'{name}.json'
    look = Look(**json.loads(path.read_text()))
    record = os.open(folder / f'{name}.sent', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    reliability = ReliabilityPolicy['RELIABLE' if look.reliable else 'BEST_EFFORT']
    qos = QoSProfile(depth=5, reliability=reliability)
    images = node.create_publisher(Image, 'image', qos)
    small = node.create_publisher(CompressedImage, 'image/compressed', qos)
    infos = node.create_publisher(CameraInfo, 'camera_info', qos)
    read_ns, due_s, level = 0, time.monotonic(), 5 * random.randrange(LEVELS)
    while rclpy.ok():
        if (changed_ns := path.stat().st_mtime_ns) != read_ns:
            look, read_ns = Look(**json.loads(path.read_text())), changed_ns
        wait_s = due_s - time.monotonic() if look.rate else LONGEST_SLEEP_S
        if wait_s > 0:
            time.sleep(min(wait_s, LONGEST_SLEEP_S))
            continue
        due_s = max(due_s + 1 / look.rate, time.monotonic() - 0.1)
        stamp_ns, level = time.time_ns() + round(look.offset_s * 1e9), (level + 35) % (5 * LEVELS)
        stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        header = Header(stamp=stamp, frame_id=f'{name}_optical_frame')
        shown, jpeg = level_in(look.encoding, level), small.get_subscription_count() > 0
        description = info(look, header)
        line = {'stamp': stamp_ns, 'at': time.monotonic(), 'level': shown, 'focal': look.focal}
        text = json.dumps({**line, 'encoding': look.encoding, 'compressed': jpeg})
        os.write(record, f'{text}\n'.encode())
        for _ in range(look.infos):
            infos.publish(description)
        images.publish(image(look, shown, header))
        if jpeg:
            small.publish(compressed(look, shown, header))


def main() -> int:
    """Run the camera; returns the exit code."""
    prepare()
    if not init():
        return 0
    node = rclpy.create_node('camera')
    try:
        run(node)
    except Exception:
        if rclpy.ok():
            raise  # otherwise it was shut down while publishing
    finally:
        shutdown(node)
    return 0


if __name__ == '__main__':
    sys.exit(main())
