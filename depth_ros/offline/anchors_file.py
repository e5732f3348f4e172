# SPDX-License-Identifier: Apache-2.0
"""A file of pixels with known depth, for `depth-ros run --anchors`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.errors import ImageError
from depth_ros.core.types import Anchors

SIGMA = 0.02  #: standard deviation of depth relative to it, where the file has none


def read(path: Path, size: tuple[int, int], per_metre: float = 1000.0) -> Anchors:
    """Read anchors.

    Args:
        path: a PNG of 16 bits with depth along the optical axis, 0 where it is not known; an NPY
            file with such a depth image (H, W) in metres, 0 or NaN where it is not known, or with
            rows u v z [px, px, m] or u v z sigma; an NPZ file with arrays u, v, z and, if known,
            sigma.
        size: (H, W) of the image.
        per_metre: value of a PNG for one metre.

    Raises:
        ImageError: the file cannot be read, or does not belong to the image.
    """
    try:
        columns = _columns(path, size, per_metre)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ImageError(
            f'{path} has no anchors: {error}; give a PNG of 16 bits, or an .npy or .npz file, see '
            'docs/command-line.md'
        ) from error
    u, v, z = columns[:3]
    sigma = columns[3] if len(columns) > 3 else SIGMA * z
    known = np.isfinite(z) & (z > 0) & np.isfinite(sigma) & (sigma > 0)
    if not known.any():
        raise ImageError(f'{path} has no anchors: no depth in it is above 0')
    return Anchors(u[known], v[known], z[known], sigma[known])


def _columns(path: Path, size: tuple[int, int], per_metre: float) -> list[NDArray[np.float64]]:
    if path.suffix == '.npz':
        with np.load(path, allow_pickle=False) as arrays:
            names = ('u', 'v', 'z', *(('sigma',) if 'sigma' in arrays else ()))
            columns = [np.asarray(arrays[name], np.float64) for name in names]
        if any(c.shape != columns[0].shape or c.ndim != 1 for c in columns):
            raise ValueError(f'{", ".join(names)} have shapes {[c.shape for c in columns]}')
        return columns
    table: Any
    if path.suffix == '.npy':
        table = np.load(path, allow_pickle=False).astype(np.float64)
        if table.ndim == 2 and table.shape != size and table.shape[1] in (3, 4):
            return [*table.T]
    else:
        path.stat()  # OpenCV does not say that there is no file
        table = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if table is None or table.dtype != np.uint16:
            raise ValueError('it is no PNG of 16 bits')
        table = table / per_metre
    if table.shape != size:
        height, width = size
        raise ValueError(f'its shape is {table.shape} but the image is {width}x{height}')
    v, u = np.nonzero(np.isfinite(table) & (table > 0))
    return [u.astype(np.float64), v.astype(np.float64), table[v, u]]
