# SPDX-License-Identifier: Apache-2.0
"""Points of sensor messages: PointCloud2, LaserScan, and depth images with camera_info."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depth_ros.core.decode import decode
from depth_ros.core.errors import ImageError
from depth_ros.messages.camera_info import camera_from
from depth_ros.messages.images import rows_of
from depth_ros.pipeline.anchors.points import Points, depth_points, scan_points

#: sensor_msgs/PointField.datatype -> numpy
_TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}
#: encodings of depth images: numpy type, and metres of a unit (REP 118)
DEPTHS = {
    '16UC1': ('u2', 1e-3),
    'mono16': ('u2', 1e-3),
    '32FC1': ('f4', 1.0),
    '64FC1': ('f8', 1.0),
}


def cloud_points(message: Any) -> Points:
    """Points (N, 3) of a PointCloud2, in its frame [m]; NaN where there is none.

    Raises:
        ImageError: it has no x, y and z, or its data do not fit.
    """
    fields = {field.name: field for field in message.fields}
    order = '>' if message.is_bigendian else '<'
    offsets, formats = [], []
    for name in 'xyz':
        if name not in fields or fields[name].datatype not in _TYPES:
            known = ', '.join(fields) or 'none'
            raise ImageError(f'a cloud without {name} (fields: {known}); remap to another topic')
        formats.append(order + _TYPES[fields[name].datatype])
        offsets.append(fields[name].offset)
    step, row = message.point_step, message.row_step
    ends = [o + np.dtype(f).itemsize for o, f in zip(offsets, formats, strict=True)]
    needed = row * (message.height - 1) + step * message.width
    if message.width and message.height:
        if max(ends) > step or step * message.width > row or len(message.data) < needed:
            raise ImageError(
                f'the data of a cloud are {len(message.data)} bytes but {message.width}x'
                f'{message.height} points of {step} bytes in rows of {row} take {needed}; fix the '
                'publisher'
            )
    else:
        return np.empty((0, 3))
    data = np.frombuffer(message.data, np.uint8)
    shape, strides = (message.height, message.width), (row, step)
    axes = [np.ndarray(shape, f, data, o, strides) for o, f in zip(offsets, formats, strict=True)]
    return np.stack([axis.ravel().astype(np.float64) for axis in axes], 1)


def laser_points(message: Any) -> Points:
    """Points (N, 3) of a LaserScan, in its frame [m]."""
    ranges = np.asarray(message.ranges, np.float64)
    near, far = message.range_min, message.range_max or np.inf
    return scan_points(ranges, message.angle_min, message.angle_increment, near, far)


def depth_image_points(image: Any, info: Any) -> Points:
    """Points (N, 3) of a depth image, in its optical frame [m].

    Args:
        image: sensor_msgs/Image, rectified, of metres or millimetres (REP 118).
        info: its sensor_msgs/CameraInfo.

    Raises:
        ImageError: another encoding, or the data do not fit.
        CameraError: the camera_info cannot be used.
    """
    z = depth_image(image)
    return depth_points(z, camera_from(info, image.width, image.height, rectified=True))


def depth_image(message: Any) -> NDArray[np.float32]:
    """Depth (H, W) of an image in metres or millimetres (REP 118) [m]; not positive if unknown.

    Args:
        message: sensor_msgs/Image, or CompressedImage of compressedDepth as PNG.

    Raises:
        ImageError: another encoding, or the data do not fit.
    """
    if hasattr(message, 'format'):
        return _compressed_depth(message)
    if message.encoding not in DEPTHS:
        known = ', '.join(DEPTHS)
        raise ImageError(f'a depth image of encoding {message.encoding!r}; it must be {known}')
    code, unit = DEPTHS[message.encoding]
    dtype = np.dtype(code).newbyteorder('>' if message.is_bigendian else '<')
    raw = rows_of(message, message.height, 1, dtype)[..., 0]
    return (raw * unit).astype(np.float32)


def _compressed_depth(message: Any) -> NDArray[np.float32]:
    """Depth of compressedDepth: a header with the quantization of inverse depth, then a PNG."""
    encoding, _, form = message.format.partition(';')
    data = bytes(message.data)
    if 'compressedDepth' not in form or 'rvl' in form or encoding not in DEPTHS or len(data) < 12:
        raise ImageError(
            f'a compressed depth image of format {message.format!r}; it must be compressedDepth '
            'of 16UC1 or 32FC1 as PNG: record the raw depth topic'
        )
    raw = decode(data[12:], 'a compressed depth image', 'fix the publisher')
    if encoding != '32FC1':
        return (raw * DEPTHS[encoding][1]).astype(np.float32)
    _, a, b = struct.unpack('<iff', data[:12])
    z = np.zeros(raw.shape, np.float32)
    np.divide(np.float32(a), raw - np.float32(b), out=z, where=raw > 0)
    return z
