# SPDX-License-Identifier: Apache-2.0
"""Image files in memory (JPEG, PNG, TIFF and others) -> pixels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.errors import ImageError

_JPEG_BEGIN, _JPEG_END = b'\xff\xd8', b'\xff\xd9'


def decode(data: bytes, name: str, remedy: str) -> NDArray[Any]:
    """Decode an image file; its EXIF orientation is not applied.

    Args:
        data: content of the file.
        name: of the image, to begin error messages.
        remedy: to end them.

    Returns:
        (H, W) grey or (H, W, 3) in the order of OpenCV (BGR); uint8 or uint16.

    Raises:
        ImageError: the data cannot be decoded, or hold other values.
    """
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
