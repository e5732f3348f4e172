# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/Image and CompressedImage -> RGB."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.errors import ImageError

Picture = NDArray[np.uint8]

#: encoding -> (channels, dtype, cv2 conversion to RGB, or None if it is RGB)
_PACKED: dict[str, tuple[int, str, int | None]] = {
    'rgb8': (3, 'u1', None),
    'bgr8': (3, 'u1', cv2.COLOR_BGR2RGB),
    '8UC3': (3, 'u1', cv2.COLOR_BGR2RGB),  # OpenCV's own order
    'rgba8': (4, 'u1', cv2.COLOR_RGBA2RGB),
    'bgra8': (4, 'u1', cv2.COLOR_BGRA2RGB),
    '8UC4': (4, 'u1', cv2.COLOR_BGRA2RGB),
    'mono8': (1, 'u1', cv2.COLOR_GRAY2RGB),
    '8UC1': (1, 'u1', cv2.COLOR_GRAY2RGB),
    'mono16': (1, 'u2', cv2.COLOR_GRAY2RGB),
    # OpenCV names a pattern by its second row; the names that agree with ROS are younger than 4.5
    'bayer_rggb8': (1, 'u1', cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': (1, 'u1', cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': (1, 'u1', cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': (1, 'u1', cv2.COLOR_BayerGB2RGB),
    'yuv422': (2, 'u1', cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': (2, 'u1', cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': (2, 'u1', cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': (2, 'u1', cv2.COLOR_YUV2RGB_YUY2),
}
#: a full-size plane of Y, then a half-size one of interleaved chroma
_PLANAR = {'nv12': cv2.COLOR_YUV2RGB_NV12, 'nv21': cv2.COLOR_YUV2RGB_NV21}

ENCODINGS = (*_PACKED, *_PLANAR)


def to_rgb(message: Any) -> Picture:
    """Decode an image message, raw or compressed.

    Args:
        message: sensor_msgs/Image or sensor_msgs/CompressedImage; not changed.

    Returns:
        (H, W, 3) uint8 RGB; for rgb8 a view of the message's own data.

    Raises:
        ImageError: unknown encoding, or data that do not fit width, height and step.
    """
    if hasattr(message, 'format'):
        return _decompressed(message)
    encoding = message.encoding
    if encoding in _PLANAR:
        if message.width % 2 or message.height % 2:
            raise ImageError(
                f'{encoding} image is {message.width}x{message.height}; both must be even'
            )
        rows = rows_of(message, message.height * 3 // 2, 1, np.dtype('u1'))
        return cv2.cvtColor(rows[..., 0], _PLANAR[encoding])
    if encoding not in _PACKED:
        return _through_cv_bridge(message)
    channels, kind, conversion = _PACKED[encoding]
    picture = rows_of(
        message, message.height, channels, np.dtype(('>' if message.is_bigendian else '<') + kind)
    )
    if kind == 'u2':
        picture = (picture >> 8).astype(np.uint8)
    if channels == 1:
        picture = picture[..., 0]
    if channels == 2 and message.width % 2:
        raise ImageError(f'{encoding} image is {message.width} wide; it must be even')
    if conversion is None:
        return picture
    if encoding.startswith('bayer') and min(message.width, message.height) < 4:
        raise ImageError(
            f'{encoding} image is {message.width}x{message.height}; too small to demosaic'
        )
    return cv2.cvtColor(np.ascontiguousarray(picture), conversion)


def rows_of(message: Any, height: int, channels: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """(height, width, channels) view of the data, row padding skipped."""
    row = message.width * channels * dtype.itemsize
    if not message.width or not message.height:
        raise ImageError(f'image is {message.width}x{message.height}; it is empty')
    if message.step < row:
        raise ImageError(
            f'image step is {message.step} but a row of {message.width} px {message.encoding} '
            f'takes {row} bytes; mend the publisher'
        )
    needed = message.step * (height - 1) + row  # the last row may come without padding
    if len(message.data) < needed:
        raise ImageError(
            f'image data are {len(message.data)} bytes but {message.width}x{message.height} '
            f'{message.encoding} with step {message.step} takes {needed}; mend the publisher'
        )
    strides = (message.step, channels * dtype.itemsize, dtype.itemsize)
    return np.ndarray((height, message.width, channels), dtype, message.data, 0, strides)


def _decompressed(message: Any) -> Picture:
    data = np.frombuffer(message.data, np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    picture = cv2.imdecode(data, flags) if data.size else None
    if picture is None:
        raise ImageError(
            f'compressed image of format {message.format!r}, {data.size} bytes, is no picture '
            'that OpenCV can decode'
        )
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _through_cv_bridge(message: Any) -> Picture:
    """Encodings outside the fast path, where ROS's own converter is installed."""
    try:
        from cv_bridge import CvBridge
    except ImportError:
        raise ImageError(
            f'image encoding {message.encoding!r} is not supported; supported: '
            f'{", ".join(ENCODINGS)}. Change it in the driver, or install cv_bridge.'
        ) from None
    try:
        return np.ascontiguousarray(CvBridge().imgmsg_to_cv2(message, 'rgb8'), np.uint8)
    except Exception as error:  # cv_bridge raises its own, cv2's and numpy's errors
        raise ImageError(
            f'cv_bridge cannot convert encoding {message.encoding!r} to rgb8: {error}'
        ) from error
