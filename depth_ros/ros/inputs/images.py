# SPDX-License-Identifier: Apache-2.0
"""Image messages -> RGB on the device that infers; the one table of encodings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.errors import ImageError

Rgb = NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the data of an encoding become RGB.

    Args:
        channels: of a pixel, as they lie in a row.
        cv2_code: OpenCV's conversion to RGB; None if the data are RGB.
        rgb: which channels are red, green and blue, where it takes no more than an order: a GPU
            does that itself. None for Bayer, YUV and 16 bits.
        dtype: of a channel, without byte order.
        planar: 4:2:0, a full-size plane of Y, then a half-size plane of interleaved chroma.
    """

    channels: int
    cv2_code: int | None
    rgb: tuple[int, int, int] | None = None
    dtype: str = 'u1'
    planar: bool = False


_RGB = Encoding(3, None, (0, 1, 2))
_BGR = Encoding(3, cv2.COLOR_BGR2RGB, (2, 1, 0))
_BGRA = Encoding(4, cv2.COLOR_BGRA2RGB, (2, 1, 0))
_GRAY = Encoding(1, cv2.COLOR_GRAY2RGB, (0, 0, 0))
_UYVY = Encoding(2, cv2.COLOR_YUV2RGB_UYVY)
_YUYV = Encoding(2, cv2.COLOR_YUV2RGB_YUY2)

#: name in sensor_msgs/Image -> how it is decoded
ENCODINGS: dict[str, Encoding] = {
    'rgb8': _RGB,
    'bgr8': _BGR,
    '8UC3': _BGR,  # OpenCV's own order
    'rgba8': Encoding(4, cv2.COLOR_RGBA2RGB, (0, 1, 2)),
    'bgra8': _BGRA,
    '8UC4': _BGRA,
    'mono8': _GRAY,
    '8UC1': _GRAY,
    'mono16': Encoding(1, cv2.COLOR_GRAY2RGB, dtype='u2'),
    # OpenCV names a pattern by its second row; the names that agree with ROS are younger than 4.5
    'bayer_rggb8': Encoding(1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': Encoding(1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': Encoding(1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': Encoding(1, cv2.COLOR_BayerGB2RGB),
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': Encoding(1, cv2.COLOR_YUV2RGB_NV12, planar=True),
    'nv21': Encoding(1, cv2.COLOR_YUV2RGB_NV21, planar=True),
}


class Upload:
    """Decodes images of one topic, with one copy to the device.

    On the CPU OpenCV decodes. On a GPU the message's bytes are copied to locked memory and from
    there to the device, where channels are put in order. What takes more than an order (Bayer,
    YUV, compressed) OpenCV decodes first.

    Args:
        device: where frames must be.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._locked = torch.empty(0, dtype=torch.uint8)
        self._sent: torch.cuda.Event | None = None

    def __call__(self, message: Any) -> Tensor:
        """Decode a message.

        Args:
            message: sensor_msgs/Image or sensor_msgs/CompressedImage; not changed.

        Returns:
            (H, W, 3) uint8 RGB on the device; the copy to a GPU may still be in progress.

        Raises:
            ImageError: unknown encoding, or data that do not fit width, height and step.
        """
        encoding = ENCODINGS.get(getattr(message, 'encoding', ''))
        if self.device.type == 'cpu' or encoding is None or encoding.rgb is None:
            # torch wants writable memory
            return self._copy(np.require(to_rgb(message), requirements='W'))
        rows = rows_of(message, message.height, encoding.channels, np.dtype('u1'))
        return in_order(self._copy(rows), encoding.rgb)

    def _copy(self, pixels: NDArray[np.uint8]) -> Tensor:
        """(H, W, C) uint8 array -> the same on the device."""
        if self.device.type == 'cpu':
            return torch.from_numpy(pixels)
        if self._locked.numel() < pixels.size:
            self._locked = torch.empty(pixels.size, dtype=torch.uint8, pin_memory=True)
        if self._sent is not None:  # as a rule the image before has long arrived
            self._sent.synchronize()
        staging = self._locked[: pixels.size].view(pixels.shape)
        np.copyto(staging.numpy(), pixels)  # without the padding of rows
        on_device = staging.to(self.device, non_blocking=True)
        self._sent = torch.cuda.current_stream(self.device).record_event()
        return on_device


def in_order(pixels: Tensor, rgb: tuple[int, int, int]) -> Tensor:
    """(H, W, C) -> (H, W, 3) of the channels that are red, green and blue."""
    if rgb == (0, 1, 2):
        return pixels[..., :3].contiguous()
    return torch.stack([pixels[..., k] for k in rgb], -1)


def to_rgb(message: Any) -> Rgb:
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
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        return _through_cv_bridge(message)
    if encoding.planar:
        if message.width % 2 or message.height % 2:
            raise ImageError(
                f'{message.encoding} image is {message.width}x{message.height}; both must be even'
            )
        rows = rows_of(message, message.height * 3 // 2, 1, np.dtype('u1'))
        return _converted(rows[..., 0], encoding.cv2_code)
    dtype = np.dtype(('>' if message.is_bigendian else '<') + encoding.dtype)
    image = rows_of(message, message.height, encoding.channels, dtype)
    if encoding.dtype == 'u2':
        image = (image >> 8).astype(np.uint8)
    if encoding.channels == 1:
        image = image[..., 0]
    if encoding.channels == 2 and message.width % 2:
        raise ImageError(f'{message.encoding} image is {message.width} wide; it must be even')
    if message.encoding.startswith('bayer') and min(message.width, message.height) < 4:
        raise ImageError(
            f'{message.encoding} image is {message.width}x{message.height}; too small to demosaic'
        )
    return _converted(image, encoding.cv2_code)


def _converted(image: NDArray[Any], code: int | None) -> Rgb:
    rgb: Any = image if code is None else cv2.cvtColor(np.ascontiguousarray(image), code)
    converted: Rgb = rgb
    return converted


def rows_of(message: Any, height: int, channels: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """(height, width, channels) view of the data, row padding skipped."""
    row = message.width * channels * dtype.itemsize
    if not message.width or not message.height:
        raise ImageError(f'image is {message.width}x{message.height}; it is empty')
    if message.step < row:
        raise ImageError(
            f'image step is {message.step} but a row of {message.width} px {message.encoding} '
            f'takes {row} bytes; fix the publisher'
        )
    needed = message.step * (height - 1) + row  # the last row may come without padding
    if len(message.data) < needed:
        raise ImageError(
            f'image data are {len(message.data)} bytes but {message.width}x{message.height} '
            f'{message.encoding} with step {message.step} takes {needed}; fix the publisher'
        )
    strides = (message.step, channels * dtype.itemsize, dtype.itemsize)
    return np.ndarray((height, message.width, channels), dtype, message.data, 0, strides)


def _decompressed(message: Any) -> Rgb:
    data = np.frombuffer(message.data, np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = cv2.imdecode(data, flags) if data.size else None
    if bgr is None:
        raise ImageError(
            f'compressed image of format {message.format!r}, {data.size} bytes, cannot be decoded '
            'by OpenCV'
        )
    return _converted(bgr, cv2.COLOR_BGR2RGB)


def _through_cv_bridge(message: Any) -> Rgb:
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
