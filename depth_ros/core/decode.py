# SPDX-License-Identifier: Apache-2.0
"""Image files in memory (JPEG, PNG, TIFF and others) -> pixels."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.errors import ImageError

#: most pixels of an image: 16384x8192. OpenCV's limit is 2^30
MAX_PIXELS = 2**27
_PNG_BEGIN, _GIF_BEGIN = b'\x89PNG\r\n\x1a\n', b'GIF8'
_JPEG_BEGIN, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
#: markers of a JPEG: those that begin a frame, those without a length, and the first of its data
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE = {0x00, 0x01, *range(0xD0, 0xD9)}
_SCAN = 0xDA


def decode(data: bytes, name: str, remedy: str) -> NDArray[Any]:
    """Decode an image file; its EXIF orientation is not applied.

    Args:
        data: content of the file.
        name: of the image, to begin error messages.
        remedy: to end them.

    Returns:
        (H, W) grey or (H, W, 3) in the order of OpenCV (BGR); uint8 or uint16.

    Raises:
        ImageError: the data cannot be decoded, hold other values, or more than `MAX_PIXELS`.
    """
    width, height = stated_size(data)
    if width * height > MAX_PIXELS:
        raise ImageError(
            f'{name} is {width}x{height} by its header; the most is {MAX_PIXELS} pixels: scale it '
            'down, or correct the header'
        )
    # up to OpenCV 4 the missing part becomes grey
    if data.startswith(_JPEG_BEGIN) and _JPEG_END not in data:
        raise ImageError(f'{name} is cut off: the end of the JPEG is missing; {remedy}')
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:
        raise ImageError(f'{name} cannot be decoded by OpenCV: {error}; {remedy}') from error
    if image is None:
        raise ImageError(f'{name} cannot be decoded by OpenCV; {remedy}')
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f'{name} holds {image.dtype}, not colours of 8 or 16 bits; {remedy}')
    decoded: NDArray[Any] = image
    return decoded


def stated_size(data: bytes) -> tuple[int, int]:
    """Width and height [px] that the header of a JPEG, PNG or GIF states; (0, 0) if it has none.

    OpenCV allocates and fills an image of that size before it finds that data are missing: 2.3 GB
    for a damaged JPEG of 4 kB. Decoders of other formats fail before they fill it.
    """
    if data.startswith(_JPEG_BEGIN):
        return _size_of_jpeg(data)
    for begin, form, offset in ((_PNG_BEGIN, '>II', 16), (_GIF_BEGIN, '<HH', 6)):
        if data.startswith(begin) and len(data) >= offset + struct.calcsize(form):
            width, height = struct.unpack_from(form, data, offset)
            return width, height
    return 0, 0


def _size_of_jpeg(data: bytes) -> tuple[int, int]:
    at = data.find(b'\xff', len(_JPEG_BEGIN))
    while 0 <= at < len(data) - 8:
        marker = data[at + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from('>HH', data, at + 5)
            return width, height
        if marker == _SCAN:
            break
        if marker == 0xFF:  # filling
            at += 1
            continue
        length = 0 if marker in _BARE else int.from_bytes(data[at + 2 : at + 4], 'big')
        at = data.find(b'\xff', at + 2 + length)  # what is between segments is skipped
    return 0, 0
