# SPDX-License-Identifier: Apache-2.0
"""The focal length a point map was made for, where nobody measured it, or to compare.

A pixel p, counted from the principal point, and the point (x, y, z) it shows obey
p = f (x, y) / z.
"""

from __future__ import annotations

import torch
from torch import Tensor

ITERATIONS = 10  # of reweighting
NEAREST = 1e-8  # error below which a pixel weighs no more


def weiszfeld_focal(points: Tensor, principal_point: tuple[float, float]) -> float:
    """Focal length [px] with the least sum of distances |p - f (x, y) / z| over all pixels.

    Args:
        points: (h, w, 3) in the frame of the camera, up to scale.
        principal_point: column and row of it [px].

    Source: Weiszfeld's algorithm, as named by Wang et al. 2024, arXiv 2312.14132.
    """
    return weiszfeld_factor(*_pixels_and_rays(points, principal_point))


def weiszfeld_factor(p: Tensor, q: Tensor) -> float:
    """The f with the least sum of |p - f q|; NaN where there is nothing to compare.

    Args:
        p: (N, 2).
        q: (N, 2); rows that are not finite are left out.
    """
    keep = q.isfinite().all(1) & p.isfinite().all(1)
    p, q = p[keep], q[keep]
    pq, qq = (p * q).sum(1), (q * q).sum(1)  # (N,)
    f = pq.mean() / qq.mean()
    for _ in range(ITERATIONS):
        w = 1 / (p - f * q).norm(dim=1).clamp(min=NEAREST)
        f = (w * pq).mean() / (w * qq).mean()
    return float(f)


def _pixels_and_rays(
    points: Tensor, principal_point: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Pixels from the principal point, and (x, y) / z, (N, 2) each."""
    h, w = points.shape[:2]
    v, u = torch.meshgrid(
        torch.arange(h, device=points.device, dtype=points.dtype) - principal_point[1],
        torch.arange(w, device=points.device, dtype=points.dtype) - principal_point[0],
        indexing='ij',
    )
    return torch.stack((u, v), 2).flatten(0, 1), (points[..., :2] / points[..., 2:]).flatten(0, 1)
