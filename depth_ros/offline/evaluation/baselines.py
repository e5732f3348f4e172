# SPDX-License-Identifier: Apache-2.0
"""Baselines that do not look at the image: a network that is no better is of no use.

Their depths are medians over rendered rooms, yards and streets with random cameras, the training
data of `nano`; nothing of the images that are compared is in them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: median depth of all pixels [m]
EVERYWHERE = 2.967
#: median depth of each row, top to bottom, for every image height [m]
ROWS = (
    3.229,
    3.314,
    3.385,
    3.443,
    3.5,
    3.58,
    3.654,
    3.691,
    3.715,
    3.736,
    3.797,
    3.805,
    3.854,
    3.861,
    3.891,
    3.896,
    3.936,
    3.947,
    3.92,
    3.791,
    3.801,
    3.824,
    3.789,
    3.707,
    3.615,
    3.572,
    3.443,
    3.357,
    3.27,
    3.176,
    3.088,
    3.014,
    2.902,
    2.807,
    2.721,
    2.648,
    2.623,
    2.58,
    2.516,
    2.434,
    2.381,
    2.318,
    2.262,
    2.199,
    2.143,
    2.094,
    2.035,
    1.979,
)


def constant(size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) [m], `EVERYWHERE` for all pixels."""
    return np.full(size, EVERYWHERE, np.float32)


def per_row(size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) [m], `ROWS` resized to the image."""
    height, width = size
    rows = np.asarray(ROWS, np.float32)[np.arange(height) * len(ROWS) // height]
    return np.repeat(rows[:, None], width, 1)


BASELINES = {'constant': constant, 'depth per row': per_row}
