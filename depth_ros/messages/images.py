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

from depth_ros.core.bit_depth import BitDepth
from depth_ros.core.decode import decode
from depth_ros.core.errors import ImageError

Rgb = NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the data of an encoding become RGB.

    Args:
        channels: of a pixel, in the order of the data.
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
# OpenCV names a pattern by its second row; the names that agree with ROS are younger than 4.5
_BAYER = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}
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
    'rgb16': Encoding(3, None, dtype='u2'),
    'bgr16': Encoding(3, cv2.COLOR_BGR2RGB, dtype='u2'),
    'rgba16': Encoding(4, cv2.COLOR_RGBA2RGB, dtype='u2'),
    'bgra16': Encoding(4, cv2.COLOR_BGRA2RGB, dtype='u2'),
    **{f'bayer_{pattern}8': Encoding(1, code) for pattern, code in _BAYER.items()},
    **{f'bayer_{pattern}16': Encoding(1, code, dtype='u2') for pattern, code in _BAYER.items()},
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
        label: prefix of each log line; identifies one of several cameras.
    """

    def __init__(self, device: torch.device, label: str = '') -> None:
        self.device = device
        self._bit_depth = BitDepth(label)
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
            return self._copy(np.require(to_rgb(message, self._bit_depth), requirements='W'))
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


def to_rgb(message: Any, bit_depth: BitDepth | None = None) -> Rgb:
    """Decode an image message, raw or compressed.

    Args:
        message: sensor_msgs/Image or sensor_msgs/CompressedImage; not changed.
        bit_depth: of the camera's 16-bit images; if absent, this image alone decides.

    Returns:
        (H, W, 3) uint8 RGB; for rgb8 a view of the message's own data.

    Raises:
        ImageError: unknown encoding, or data that do not fit width, height and step.
    """
    bit_depth = bit_depth or BitDepth()
    if hasattr(message, 'format'):
        return _decompressed(message, bit_depth)
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        return _through_cv_bridge(message)
    if encoding.planar:
        return _converted(_planes(message), encoding.cv2_code)
    dtype = np.dtype(('>' if message.is_bigendian else '<') + encoding.dtype)
    image = rows_of(message, message.height, encoding.channels, dtype)
    if encoding.dtype == 'u2':
        image = bit_depth.to_8_bits(image)
    if encoding.channels == 1:
        image = image[..., 0]
    if encoding.channels == 2 and message.width % 2:
        raise ImageError(
            f'{message.encoding} image is {message.width} wide; it must be even: set another size '
            'or encoding in the driver'
        )
    if message.encoding.startswith('bayer'):
        _check_mosaic(image, message.encoding)
    return _converted(image, encoding.cv2_code)


def _converted(image: NDArray[Any], code: int | None) -> Rgb:
    try:
        rgb: Any = image if code is None else cv2.cvtColor(np.ascontiguousarray(image), code)
    except cv2.error as error:  # OpenCV 4.5 on a single pixel
        height, width = image.shape[:2]
        raise ImageError(
            f'OpenCV {cv2.__version__} cannot convert an image of {width}x{height} ({error.err}); '
            'set a larger size in the driver'
        ) from error
    converted: Rgb = rgb
    return converted


def _check_mosaic(image: NDArray[Any], encoding: str) -> None:
    height, width = image.shape
    if min(width, height) < 4:
        raise ImageError(
            f'{encoding} image is {width}x{height}; too small to demosaic: set a larger size in '
            'the driver'
        )


def _planes(message: Any) -> NDArray[Any]:
    """(H * 3 / 2, W) view of a 4:2:0 image: Y, then chroma."""
    width, height, step = message.width, message.height, message.step
    if width % 2 or height % 2:
        raise ImageError(
            f'{message.encoding} image is {width}x{height}; both must be even: set another size '
            'or encoding in the driver'
        )
    lines, size = height * 3 // 2, len(message.data)
    # some drivers give the bytes of a line of all planes, 1.5 times those of a row
    row = step * 2 // 3
    if size < step * (lines - 1) + width and row >= width and size >= row * (lines - 1) + width:
        step = row
    return rows_of(message, lines, 1, np.dtype('u1'), step)[..., 0]


def rows_of(
    message: Any, height: int, channels: int, dtype: np.dtype[Any], step: int | None = None
) -> NDArray[Any]:
    """(height, width, channels) view of the data, row padding skipped.

    Args:
        message: sensor_msgs/Image.
        height: rows; of planar images more than the message says.
        channels: of a pixel.
        dtype: of a channel.
        step: bytes of a row; the message's if absent.

    Raises:
        ImageError: the data do not fit.
    """
    step = message.step if step is None else step
    row = message.width * channels * dtype.itemsize
    if not message.width or not message.height:
        raise ImageError(
            f'image is {message.width}x{message.height}; it is empty: fix the publisher'
        )
    if step < row:
        raise ImageError(
            f'image step is {step} but a row of {message.width} px {message.encoding} '
            f'takes {row} bytes; fix the publisher'
        )
    needed = step * (height - 1) + row  # the last row may come without padding
    if len(message.data) < needed:
        raise ImageError(
            f'image data are {len(message.data)} bytes but {message.width}x{message.height} '
            f'{message.encoding} with step {step} takes {needed}; fix the publisher'
        )
    strides = (step, channels * dtype.itemsize, dtype.itemsize)
    return np.ndarray((height, message.width, channels), dtype, message.data, 0, strides)


def _decompressed(message: Any, bit_depth: BitDepth) -> Rgb:
    """Decode a sensor_msgs/CompressedImage.

    Its format is that of the file, or `ENCODING; CODEC compressed TARGET` as image_transport
    writes it: the encoding of the raw image, and that of the file where the image was converted.
    Publishers disagree on what TARGET means for colours (bgr8 and rgb8 are both found with the
    same files), so the order of colours is that of the file.
    """
    name, separator, codec = message.format.partition(';')
    name = name.strip() if separator else ''
    about = f'compressed image of format {message.format!r}, {len(message.data)} bytes,'
    remedy = 'publish JPEG or PNG, as image_transport does'
    image = decode(bytes(message.data), about, remedy)
    encoding = ENCODINGS.get(name)
    is_grey = image.ndim == 2
    if encoding is None and name and (is_grey or image.dtype != np.uint8):
        raise ImageError(
            f'compressed image of format {message.format!r}: encoding {name!r} is not supported; '
            f'supported: {", ".join(ENCODINGS)}. Change it in the driver.'
        )
    if encoding is not None and encoding.dtype == 'u2' and image.dtype == np.uint8:
        image = image.astype(np.uint16) << 8  # JPEG has only the upper 8 bits
    if image.dtype == np.uint16:
        image = bit_depth.to_8_bits(image)
    if is_grey:
        is_mosaic = name.startswith('bayer') and 'compressed mono' not in codec
        if encoding is None or not is_mosaic:
            return _converted(image, cv2.COLOR_GRAY2RGB)
        _check_mosaic(image, name)
        return _converted(image, encoding.cv2_code)
    # image_transport converts to BGR before it encodes, but not to TIFF
    is_rgb = 'tiff' in codec and name.startswith('rgb')
    return _converted(image, None if is_rgb else cv2.COLOR_BGR2RGB)


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
            f'cv_bridge cannot convert encoding {message.encoding!r} to rgb8: {error}. Change it '
            'in the driver.'
        ) from error
