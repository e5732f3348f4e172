# SPDX-License-Identifier: Apache-2.0
"""Estimate the focal length from a point map.

A pixel p, relative to the principal point, and its point (x, y, z) satisfy p = f (x, y) / z.
"""

from __future__ import annotations

import torch
from torch import Tensor

ITERATIONS = 10  # of reweighting
MIN_ERROR = 1e-8  # limits the weight of a pixel


def weiszfeld_focal(points: Tensor, principal_point: tuple[float, float]) -> float:
    """Focal length [px] that minimises the sum of |p - f (x, y) / z| over all pixels.

    Args:
        points: (h, w, 3) in the optical frame, up to scale.
        principal_point: its column and row [px].

    Source: Weiszfeld's algorithm, as named by Wang et al. 2024, arXiv 2312.14132.
    """
    return weiszfeld_factor(*_pixels_and_rays(points, principal_point))


def weiszfeld_factor(p: Tensor, q: Tensor) -> float:
    """The factor f that minimises the sum of |p - f q|; NaN if no row is finite.

    Args:
        p: (N, 2).
        q: (N, 2).
    """
    keep = q.isfinite().all(1) & p.isfinite().all(1)
    p, q = p[keep], q[keep]
    pq, qq = (p * q).sum(1), (q * q).sum(1)  # (N,)
    f = pq.mean() / qq.mean()
    for _ in range(ITERATIONS):
        w = 1 / (p - f * q).norm(dim=1).clamp(min=MIN_ERROR)
        f = (w * pq).mean() / (w * qq).mean()
    return float(f)


def _pixels_and_rays(
    points: Tensor, principal_point: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Pixels relative to the principal point, and (x, y) / z, (N, 2) each."""
    h, w = points.shape[:2]
    v, u = torch.meshgrid(
        torch.arange(h, device=points.device, dtype=points.dtype) - principal_point[1],
        torch.arange(w, device=points.device, dtype=points.dtype) - principal_point[0],
        indexing='ij',
    )
    return torch.stack((u, v), 2).flatten(0, 1), (points[..., :2] / points[..., 2:]).flatten(0, 1)
