# SPDX-License-Identifier: Apache-2.0
"""The metric head of version 1: depth is the mean of 64 bins with image-dependent centres.

Layer names are ours. F = 256 features of the head, p x q patches, h x w = 14 p x 14 q pixels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_ros.models.depth_anything.network import DepthAnything, grid_of
from depth_ros.models.depth_anything.variant import SIZES, Variant

BINS, EMBEDDING = 64, 128
ATTRACTORS = (16, 8, 4, 1)  # attractor points of each level, coarse to fine
# The published configuration says 1000, but the compiled function ignores it and uses its default.
ATTRACTION = 300.0  # [1/m^2]
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.0212, 50.0  # of the softmax over bins


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two fully connected layers applied to each pixel."""
    return nn.Sequential(nn.Conv2d(inputs, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, outputs, 1))


def _up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode='bilinear', align_corners=True)


def attract(centres: Tensor, points: Tensor) -> Tensor:
    """Move bin centres towards attractor points, by the mean of d / (1 + 300 d^2).

    Args:
        centres: (B, K, ., .) [m].
        points: (B, A, ., .) [m].

    Returns:
        (B, K, ., .) [m].
    """
    shift = torch.zeros_like(centres)
    for point in torch.split(points, 1, dim=1):
        d = point - centres
        shift += d / (1 + ATTRACTION * d * d)
    return centres + shift / points.shape[1]


def log_binomial(mixture: Tensor) -> Tensor:
    """Weights of the bins, (B, 64, h, w), with sum one: a binomial distribution.

    Args:
        mixture: (B, 4, h, w), positive: two parts of the probability, two of the temperature.
    """
    p = mixture[:, :1] / mixture[:, :2].sum(1, keepdim=True)  # (B, 1, h, w)
    share = mixture[:, 2:3] / mixture[:, 2:].sum(1, keepdim=True)
    temperature = MIN_TEMPERATURE + (MAX_TEMPERATURE - MIN_TEMPERATURE) * share
    # log of the binomial coefficient by Stirling's formula; 1e-7 avoids log 0
    k = torch.arange(BINS, dtype=mixture.dtype, device=mixture.device).view(1, -1, 1, 1)
    k1, n = k + 1e-7, BINS - 1 + 1e-7
    coefficient = n * math.log(n) - k1 * k1.log()
    coefficient = coefficient - (n - k1) * (n - k1 + 1e-7).log()
    success, failure = p.clamp(1e-4, 1.0).log(), (1 - p).clamp(1e-4, 1.0).log()
    return torch.softmax((coefficient + k * success + (BINS - 1 - k) * failure) / temperature, 1)


class Bins(nn.Module):
    """Metric depth from the feature maps of the relative network.

    Args:
        features: F.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features, 1)
        self.seed_centres = _mlp(features, 256, BINS)
        self.seed_embedding = _mlp(features, EMBEDDING, EMBEDDING)
        self.projectors = nn.ModuleList(_mlp(features, EMBEDDING, EMBEDDING) for _ in ATTRACTORS)
        self.attractors = nn.ModuleList(_mlp(EMBEDDING, EMBEDDING, n) for n in ATTRACTORS)
        self.mixture = nn.Sequential(
            nn.Conv2d(33 + EMBEDDING, 80, 1), nn.GELU(), nn.Conv2d(80, 4, 1)
        )

    def forward(self, coarsest: Tensor, paths: list[Tensor], last: Tensor) -> Tensor:
        """Z [m], (B, h, w) float32.

        Args:
            coarsest: coarsest map of the head, (B, F, p/2, q/2).
            paths: four fused maps of the head, coarse to fine, (B, F, ., .).
            last: last features of the head and its relative depth, (B, 33, h, w).
        """
        x = self.conv(coarsest)
        centres = F.softplus(self.seed_centres(x).float())  # (B, 64, p/2, q/2) [m]
        embedding = self.seed_embedding(x)
        for path, project, attractors in zip(paths, self.projectors, self.attractors, strict=True):
            coarser, embedding = embedding, project(path)  # (B, 128, ., .)
            points = F.softplus(attractors(embedding + _up(coarser, path)).float())
            centres = attract(_up(centres, path), points)
        mixture = self.mixture(torch.cat((last, _up(embedding, last)), dim=1))
        weights = log_binomial(F.softplus(mixture.float()) + 1e-4)  # (B, 64, h, w)
        return (weights * _up(centres, last)).sum(1)


class DepthAnythingBins(DepthAnything):
    """Version 1 with metric depth.

    Source: arXiv 2401.10891; bins and attractors Bhat et al. 2023 (ZoeDepth), arXiv 2302.12288.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__(variant)
        self.bins = Bins(SIZES[variant.size].features)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(B, 3, h, w) normalised RGB -> Z [m], (B, h, w) float32."""
        head, grid = self.head, grid_of(x)
        maps = head.maps(self.taps(x), grid)
        paths = head.paths(maps, grid)
        feature = head.depth[:2](head.pixels(paths[-1], grid))  # (B, 32, h, w)
        relative = F.relu(head.depth[2](feature))
        return (self.bins(maps[3], paths, torch.cat((feature, relative), dim=1)),)
