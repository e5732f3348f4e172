# SPDX-License-Identifier: Apache-2.0
"""DepthMap -> PointCloud2, in the memory of its message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from sensor_msgs.msg import PointCloud2
from torch import Tensor

from depth_ros.core import encode
from depth_ros.core.types import DepthMap
from depth_ros.ros.outputs.message_buffer import MessageBuffer
from depth_ros.ros.outputs.messages import cloud_message


class CloudBuffer:
    """The memory of the clouds of one topic.

    A cloud is made in up to three steps, each of which may be the last: all pixels, the valid
    ones, one of each cell. Each step has its own memory.
    """

    def __init__(self) -> None:
        self._whole, self._valid, self._kept = (MessageBuffer() for _ in range(3))

    def fill(
        self,
        depth: DepthMap,
        header: Any,
        *,
        stride: int,
        color: bool = False,
        organized: bool = False,
        kept: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[PointCloud2, MessageBuffer]:
        """A cloud and where its data are, which on a GPU are still being copied.

        Args:
            depth: depth map with its image.
            header: of the message.
            stride: use every n-th column and row.
            color: include rgb.
            organized: keep the grid of the image, with NaN; else only valid points.
            kept: of finite points (N, 4), which to keep, (N,) bool; None for all.
        """
        on_cpu, out = not depth.z.is_cuda, None
        if on_cpu:  # written to the message's own memory
            out = self._whole.floats(*encode.cloud_size(depth.camera, stride), 4)
        buffer, cloud = self._whole, encode.cloud(depth, stride, color, out)
        if organized:
            if kept is not None:
                _mark(cloud, kept)
        else:
            # of a pinhole depth is searched, which is faster than to search the cloud
            z = depth.z if depth.lens is None else depth.lens.ranges
            every, cloud = cloud, encode.dense(cloud, z, self._valid.floats)
            buffer = self._whole if cloud.numel() == every.numel() else self._valid
            if kept is not None:
                valid = cloud
                cloud = encode.selected(valid, kept(valid), self._kept.floats)
                buffer = self._kept if cloud is not valid else buffer
            cloud = cloud[None]  # one row, all of it finite
        if not on_cpu:
            buffer.copy_from(cloud)
        height, width = cloud.shape[:2]
        return cloud_message(header, height, width, color=color, dense=not organized), buffer

    def free(self) -> None:
        """Unlock the pages, before they are returned to the system."""
        for buffer in (self._whole, self._valid, self._kept):
            buffer.free()


def _mark(cloud: Tensor, kept: Callable[[Tensor], Tensor]) -> None:
    """Make the points of an organised cloud NaN that are not kept."""
    flat = cloud.view(-1, 4)
    valid = torch.nonzero(flat[:, 2] == flat[:, 2]).squeeze(1)
    flat[valid[~kept(flat[valid])], :3] = torch.nan
