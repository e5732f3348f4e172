# SPDX-License-Identifier: Apache-2.0
"""16-bit channels -> 8 bits, for sensors that fill only the lower bits."""

from __future__ import annotations

import logging
from collections import Counter, deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

BIT_DEPTHS = (8, 10, 12, 14, 16)  #: of sensors
#: share of values that may exceed a bit depth: defective pixels
OUTLIERS = 1e-3
RECENT = 5  #: images, of which more than half decide
HELD = 100  #: images for which a bit depth is kept at least
PROVEN = 30  #: decisions for a bit depth after which it is kept for good


class BitDepth:
    """How many bits of its 16-bit channels a camera uses, as far as its images have shown.

    10- and 12-bit sensors send their values as they are: divided by 256, as full 16 bits are, they
    would be black. No message says how many bits are used. An image needs the smallest of
    `BIT_DEPTHS` that holds its values. The rule:

    - It grows when more than half of the `RECENT` images need more. So a damaged image or two
      change nothing.
    - It does not shrink because images are dark: those of a 12-bit camera at night need 8 bits.
    - But a growth is taken back if no majority of the `RECENT` images has needed it for `HELD`
      images, and fewer than `PROVEN` such majorities ever have: a second of damaged images must
      not darken all others.

    Args:
        label: prefix of the log line; identifies one of several cameras.
    """

    def __init__(self, label: str = '') -> None:
        self.bits = 0  #: 0 before the first image
        self._label = label
        self._recent: deque[int] = deque(maxlen=RECENT)  # what the images need
        self._held: deque[int] = deque(maxlen=HELD)  # what more than half of them need
        self._decisions: Counter[int] = Counter()  # how often at least so many

    def to_8_bits(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Scale (H, W, ...) uint16 of any byte order to uint8; what exceeds the bit depth is 255.

        The bit depth is logged when it is new.
        """
        bits = self._with(needed(image))
        if bits != self.bits:
            self.bits = bits
            log.info(
                '%s16-bit images hold values of %d bits: divided by %d',
                self._label, bits, 2 ** (bits - 8),
            )  # fmt: skip
        scaled = image >> (bits - 8)
        if bits < BIT_DEPTHS[-1] and image.max() >= 2**bits:  # seldom; it takes long
            np.minimum(scaled, 255, out=scaled)
        return scaled.astype(np.uint8)

    def _with(self, bits: int) -> int:
        """The bit depth after an image that needs `bits`."""
        self._recent.append(bits)
        majority = sorted(self._recent)[(len(self._recent) - 1) // 2]
        if len(self._recent) < RECENT:
            return majority
        self._held.append(majority)
        self._decisions.update(b for b in BIT_DEPTHS if b <= majority)
        proven = [b for b, count in self._decisions.items() if count >= PROVEN]
        return max([*self._held, *proven])


def needed(image: NDArray[Any]) -> int:
    """The smallest of `BIT_DEPTHS` that holds the values of an image, (H, W, ...) uint16."""
    sample = image[::4] if len(image) >= 240 else image  # takes less time than `>>` does
    for bits in BIT_DEPTHS[:-1]:
        if np.count_nonzero(sample >= 2**bits) <= OUTLIERS * sample.size:
            return bits
    return BIT_DEPTHS[-1]
