# SPDX-License-Identifier: Apache-2.0
"""DepthMap -> PointCloud2, in the memory of its message."""

from __future__ import annotations

from typing import Any

from sensor_msgs.msg import PointCloud2

from depth_ros.core import encode
from depth_ros.core.types import DepthMap
from depth_ros.ros.outputs.message_buffer import MessageBuffer
from depth_ros.ros.outputs.messages import cloud_message


class CloudBuffer:
    """The memory of the clouds of one topic.

    A dense cloud is made of an organised one, which may be the message itself: so there are two.
    """

    def __init__(self) -> None:
        self._whole, self._valid = MessageBuffer(), MessageBuffer()

    def fill(
        self, depth: DepthMap, header: Any, *, stride: int, color: bool, organized: bool
    ) -> tuple[PointCloud2, MessageBuffer]:
        """A cloud and where its data are, which on a GPU are still being copied.

        Args:
            depth: depth map with its image.
            header: of the message.
            stride: use every n-th column and row.
            color: include rgb.
            organized: keep the grid of the image, with NaN; else only valid points.
        """
        out = None
        if not depth.z.is_cuda:  # written to the message's own memory
            out = self._whole.floats(*encode.cloud_size(depth.camera, stride), 4)
        points = every = encode.cloud(depth, stride, color, out)
        if not organized:
            # one row, all of it finite
            points = encode.dense(every, depth.z, self._valid.floats)[None]
        buffer = self._whole if points.numel() == every.numel() else self._valid
        if depth.z.is_cuda:
            buffer.copy_from(points)
        height, width = points.shape[:2]
        message = cloud_message(header, height, width, color=color, dense=not organized)
        return message, buffer

    def free(self) -> None:
        """Unlock the pages, before they are returned to the system."""
        self._whole.free()
        self._valid.free()
