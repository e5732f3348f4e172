# SPDX-License-Identifier: Apache-2.0
"""Encode RGB images as camera drivers do, in every encoding that the node reads."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.errors import ConfigError
from depth_ros.messages.images import ENCODINGS

Bytes = NDArray[np.uint8]

_CONVERSIONS = {
    'bgr8': cv2.COLOR_RGB2BGR,
    '8UC3': cv2.COLOR_RGB2BGR,
    'rgba8': cv2.COLOR_RGB2RGBA,
    'bgra8': cv2.COLOR_RGB2BGRA,
    '8UC4': cv2.COLOR_RGB2BGRA,
    'mono8': cv2.COLOR_RGB2GRAY,
    '8UC1': cv2.COLOR_RGB2GRAY,
}


def check(encoding: str, width: int, height: int) -> None:
    """Check that `encode` supports an encoding and image size.

    Raises:
        ConfigError: the encoding is unknown, or needs an even width and height.
    """
    if encoding not in ENCODINGS:
        raise ConfigError(f'encoding is {encoding!r}; choose one of {", ".join(ENCODINGS)}')
    if encoding.startswith(('yuv', 'uyvy', 'nv', 'bayer')) and (width % 2 or height % 2):
        raise ConfigError(f'encoding is {encoding} and size {width}x{height}; make both even')


def encode(rgb: Bytes, encoding: str) -> Bytes:
    """Encode an RGB image.

    Args:
        rgb: (H, W, 3) uint8.
        encoding: as in sensor_msgs/Image.

    Returns:
        (rows, step) uint8; 4:2:0 encodings have 3 / 2 H rows.
    """
    height, width = rgb.shape[:2]
    if encoding == 'rgb8':
        return rgb.reshape(height, -1)
    if encoding in _CONVERSIONS:
        return _convert(rgb, _CONVERSIONS[encoding]).reshape(height, -1)
    if encoding.endswith('16'):
        narrow = encode(rgb, f'{encoding[:-2]}8')
        return (narrow.astype('<u2') * 257).view(np.uint8)
    if encoding.startswith('bayer'):
        mosaic = np.empty((height, width), np.uint8)
        for n, colour in enumerate(encoding[6:10]):
            cell = slice(n // 2, None, 2), slice(n % 2, None, 2)
            mosaic[cell] = rgb[(*cell, 'rgb'.index(colour))]
        return mosaic
    planes = _convert(rgb, cv2.COLOR_RGB2YUV_I420)
    y, uv = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
    # both chroma values of a pair of columns side by side: (H / 2, W)
    chroma = np.stack(list(uv[::-1] if encoding == 'nv21' else uv), -1).reshape(height // 2, width)
    if encoding.startswith('nv'):
        return np.concatenate((y, chroma))
    pair = (chroma.repeat(2, 0), y)
    return np.stack(pair if encoding in ('uyvy', 'yuv422') else pair[::-1], -1).reshape(height, -1)


def _convert(rgb: Bytes, code: int) -> Bytes:
    converted: Any = cv2.cvtColor(rgb, code)
    pixels: Bytes = converted
    return pixels
