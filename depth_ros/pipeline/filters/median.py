# SPDX-License-Identifier: Apache-2.0
"""Filter `median`: single pixels that differ from all around them get the depth of these."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def smoothed(z: Tensor, radius: int) -> Tensor:
    """Replace each depth by the median of the window around it.

    Args:
        z: (H, W) float32 [m], may be NaN or infinite.
        radius: of the window [px]: 1 is 3x3, 2 is 5x5; 0 does nothing.

    Returns:
        (H, W) float32; pixels with any that is not finite in their window keep their value. `z`
        itself if radius is 0.
    """
    if radius <= 0:
        return z
    smooth = _by_opencv if z.device.type == 'cpu' else _by_torch
    return smooth(z, radius)


def _by_opencv(z: Tensor, radius: int) -> Tensor:
    values, side = z.numpy(), 2 * radius + 1
    finite = np.isfinite(values)
    if finite.all():
        return torch.from_numpy(cv2.medianBlur(values, side))
    # NaN is sorted somewhere: what comes of it, where any is in the window, is not used
    median = cv2.medianBlur(values, side)
    incomplete = cv2.dilate((~finite).view(np.uint8), np.ones((side, side), np.uint8))
    return torch.from_numpy(cv2.copyTo(values, incomplete, median))


def _by_torch(z: Tensor, radius: int) -> Tensor:
    side = 2 * radius + 1
    wide = F.pad(z[None, None], (radius,) * 4, mode='replicate')[0, 0]
    height, width = z.shape
    window = torch.stack(
        [wide[v : v + height, u : u + width] for v in range(side) for u in range(side)]
    )
    median = window.median(0).values
    return torch.where(torch.isfinite(window).all(0), median, z)
