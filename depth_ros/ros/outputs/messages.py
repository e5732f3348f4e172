# SPDX-License-Identifier: Apache-2.0
"""Image and PointCloud2 messages without their data, which `MessageBuffer.give_to` adds."""

from __future__ import annotations

from typing import Any

from sensor_msgs.msg import Image, PointCloud2, PointField

from depth_ros.core import encode

_FIELDS = [
    PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
    for i, name in enumerate(('x', 'y', 'z', 'rgb'))
]


def image_message(header: Any, height: int, width: int, encoding: str, step: int) -> Image:
    """An Image whose rows have `step` bytes."""
    return Image(header=header, height=height, width=width, encoding=encoding, step=step)


def cloud_message(
    header: Any, height: int, width: int, *, color: bool = True, dense: bool = False
) -> PointCloud2:
    """A cloud of height x width points; `dense` says that all of them are finite."""
    return PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=_FIELDS if color else _FIELDS[:3],
        is_bigendian=False,
        point_step=encode.POINT_STEP,
        row_step=encode.POINT_STEP * width,
        is_dense=dense,
    )
