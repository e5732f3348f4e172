# SPDX-License-Identifier: Apache-2.0
"""16-bit channels -> 8 bits, for sensors that fill only the lower bits."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

BIT_DEPTHS = (8, 10, 12, 14, 16)  #: of sensors
#: share of values that may exceed a bit depth: defective pixels
OUTLIERS = 1e-3


class BitDepth:
    """How many bits of its 16-bit channels a camera uses, as far as its images have shown.

    10- and 12-bit sensors send their values as they are: divided by 256, as full 16 bits are, they
    would be black. No message says how many bits are used. So the bit depth is the smallest of
    `BIT_DEPTHS` that holds the values of all images so far. It only grows, so that the brightness
    is steady: it changes at most four times.

    Args:
        label: prefix of the log line; identifies one of several cameras.
    """

    def __init__(self, label: str = '') -> None:
        self.bits = 0  #: 0 before the first image
        self._label = label

    def to_8_bits(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Scale (...) uint16 of any byte order to (...) uint8; what exceeds the bit depth is 255.

        The bit depth is logged when it is new.
        """
        bits, outliers = self._of(image)
        if bits != self.bits:
            self.bits = bits
            log.info(
                '%s16-bit images hold values of %d bits: divided by %d',
                self._label, bits, 2 ** (bits - 8),
            )  # fmt: skip
        scaled = image >> (bits - 8)
        if outliers:
            np.minimum(scaled, 255, out=scaled)
        return scaled.astype(np.uint8)

    def _of(self, image: NDArray[Any]) -> tuple[int, int]:
        """The bit depth with this image, and how many of its values are beyond it."""
        for bits in BIT_DEPTHS[:-1]:
            if bits >= self.bits:
                outliers = int(np.count_nonzero(image >= 2**bits))
                if outliers <= OUTLIERS * image.size:
                    return bits, outliers
        return BIT_DEPTHS[-1], 0
