# SPDX-License-Identifier: Apache-2.0
"""An image file as a photo: turned upright, with the focal length its EXIF data name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from depth_ros.core.bit_depth import BitDepth
from depth_ros.core.decode import decode
from depth_ros.core.errors import ImageError

FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)  #: of 35 mm film
_ORIENTATION, _EXIF_IFD, _FOCAL_35MM = 0x0112, 0x8769, 0xA405  #: EXIF tags
_ROWS_ARE_COLUMNS = (5, 6, 7, 8)  #: orientations


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A photo.

    Args:
        rgb: (H, W, 3) uint8, upright.
        orientation: by EXIF, 1 to 8; 1 for one that was upright.
        focal_35mm: focal length on 35 mm film with the same field of view [mm]; None if unknown.
    """

    rgb: NDArray[np.uint8]
    orientation: int
    focal_35mm: float | None

    @property
    def focal_px(self) -> float | None:
        """Focal length [px] of the image as it left the camera; None if unknown.

        The equivalent on film is by the diagonal of the image (CIPA DCG-001).
        """
        if self.focal_35mm is None:
            return None
        return self.focal_35mm / FILM_DIAGONAL_MM * math.hypot(*self.rgb.shape[:2])


def read(path: Path) -> ImageFile:
    """Read an image file of 8 or 16 bits, grey or colours.

    Raises:
        ImageError: there is no such file, or it is no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f'{path} is no image: {error.strerror}; check the path') from error
    is_heic = path.suffix.lower() in ('.heic', '.heif')
    remedy = 'convert it to JPEG' if is_heic else 'give a JPEG, PNG or TIFF file'
    image = decode(data, str(path), remedy)
    if image.dtype == np.uint16:
        image = BitDepth().to_8_bits(image)
    code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
    orientation, focal_35mm = _exif(path)
    return ImageFile(_upright(cv2.cvtColor(image, code), orientation), orientation, focal_35mm)


def _upright(image: NDArray[Any], orientation: int) -> NDArray[np.uint8]:
    """(H, W, 3) as it is to be seen, by its EXIF orientation."""
    if orientation in _ROWS_ARE_COLUMNS:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _exif(path: Path) -> tuple[int, float | None]:
    """Orientation and equivalent focal length [mm]; 1 and None where there are none."""
    try:
        with Image.open(path) as image:
            exif = image.getexif()
            orientation = exif.get(_ORIENTATION, 1)
            focal_35mm = float(exif.get_ifd(_EXIF_IFD).get(_FOCAL_35MM, 0))
    except Exception:  # formats only OpenCV reads, and whatever damaged EXIF data raise
        return 1, None
    known = orientation in range(1, 9)
    return orientation if known else 1, focal_35mm if 0 < focal_35mm < math.inf else None
