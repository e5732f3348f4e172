# SPDX-License-Identifier: Apache-2.0
"""How much two images differ, and how rough a depth map is.

B batch, S sources; images in 0..1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_SHARE = 0.85  #: of the structural difference; the rest is that of colours
C1, C2 = 0.01**2, 0.03**2  #: of SSIM


def photometric(a: Tensor, b: Tensor) -> Tensor:
    """Difference of two images, (B, h, w) in 0..1.

    Structural dissimilarity (Wang et al. 2004, of 3 x 3 pixels) and mean absolute difference, in
    the shares of Godard et al. 2017, arXiv 1609.03677.

    Args:
        a: (B, 3, h, w) float32 in 0..1.
        b: (B, 3, h, w).
    """
    return (SSIM_SHARE * dissimilarity(a, b) + (1 - SSIM_SHARE) * (a - b).abs()).mean(1)


def dissimilarity(a: Tensor, b: Tensor) -> Tensor:
    """(1 - SSIM) / 2 of 3 x 3 pixels around each, (B, 3, h, w) in 0..1."""
    mean_a, mean_b = _mean(a), _mean(b)
    var_a = _mean(a * a) - mean_a**2
    var_b = _mean(b * b) - mean_b**2
    covariance = _mean(a * b) - mean_a * mean_b
    ssim = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    ssim = ssim / ((mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2))
    return ((1 - ssim) / 2).clamp(0, 1)


def _mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode='reflect'), 3, 1)


def combined(errors: Tensor, seen: Tensor, still: Tensor | None = None) -> Tensor:
    """Mean over pixels of the smallest error of all sources; a scalar.

    A point that is hidden in one source may be seen in another. Pixels that look the same without
    any motion are left out if `still` is given: of objects that move with the camera, and of
    surfaces without texture (Godard et al. 2019, arXiv 1806.01260).

    Args:
        errors: (S, B, h, w), of `photometric`.
        seen: (S, B, h, w) bool, of `warp.Warped`.
        still: (S, B, h, w), errors of the sources as they are; or None.
    """
    smallest = torch.where(seen, errors, torch.inf).amin(0)
    used = torch.isfinite(smallest)
    if still is not None:
        used = used & (smallest < still.amin(0))
    return torch.where(used, smallest, 0.0).sum() / used.sum().clamp(min=1)


def average(errors: Tensor, seen: Tensor) -> Tensor:
    """Mean over all pixels of all sources that are seen; a scalar."""
    return (errors * seen).sum() / seen.sum().clamp(min=1)


def roughness(log_z: Tensor, rgb: Tensor) -> Tensor:
    """Mean gradient of log depth, less where the image has an edge; a scalar.

    Source: Godard et al. 2017, arXiv 1609.03677, with log depth, whose gradients do not depend on
    the scale.

    Args:
        log_z: (B, h, w).
        rgb: (B, 3, h, w) in 0..1.
    """
    total = log_z.new_zeros(())
    for axis in (1, 2):
        slope = log_z.diff(dim=axis).abs()
        edge = rgb.diff(dim=axis + 1).abs().mean(1)
        total = total + (slope * (-10 * edge).exp()).mean()
    return total
