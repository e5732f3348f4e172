# SPDX-License-Identifier: Apache-2.0
"""Loss of the training, and those metrics of depth that it reports."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from depth_ros.offline.evaluation.scores import score

NEAR, FAR = 0.3, 80.0  # range of depth for loss and metrics [m]
SCALES = 4  # of the gradient loss, each with half the resolution of the previous


def loss(log_zc: Tensor, sky: Tensor, z: Tensor, log_focal_ratio: Tensor) -> Tensor:
    """Mean absolute error of log depth and of its gradients, and cross entropy of sky.

    Args:
        log_zc: (B, h, w) predicted logarithm of canonical depth.
        sky: (B, h, w) predicted logit of sky.
        z: (B, h, w) true depth [m], +Inf for sky.
        log_focal_ratio: (B,) log(f_c / f).

    Returns:
        () float32.
    """
    is_sky = torch.isinf(z)
    valid = (~is_sky).float()
    error = log_zc - log_focal_ratio[:, None, None] - z.clamp(NEAR, FAR).log()
    # beyond the range, any prediction beyond it is correct
    error = torch.where(z > FAR, error.clamp(max=0), error) * valid
    total = error.abs().sum() / valid.sum().clamp(min=1)
    for k in range(SCALES):
        step = 2**k
        coarse, weight = error[:, ::step, ::step], valid[:, ::step, ::step]
        for axis in (1, 2):
            n = coarse.shape[axis] - 1
            both = weight.narrow(axis, 1, n) * weight.narrow(axis, 0, n)
            slope = (coarse.narrow(axis, 1, n) - coarse.narrow(axis, 0, n)).abs() * both
            total = total + 0.25 * slope.sum() / both.sum().clamp(min=1)
    return total + 0.2 * F.binary_cross_entropy_with_logits(sky, is_sky.float())


@dataclass(frozen=True, slots=True)
class Score:
    """Metrics of depth, of one image or the mean of several.

    Args:
        abs_rel: mean of |Z - truth| / truth.
        delta1: fraction of pixels with an error below 25 %.
        abs_rel_median: `abs_rel` after scaling Z to the median of the truth.
        delta1_median: `delta1` after scaling Z to the median of the truth.
    """

    abs_rel: float
    delta1: float
    abs_rel_median: float
    delta1_median: float

    @staticmethod
    def of(z: Tensor, truth: Tensor) -> Score | None:
        """Metrics of one image, (H, W) [m]; None if fewer than 100 pixels can be compared.

        As `depth_ros.offline.evaluation.scores` has them, from `NEAR` to `FAR`: a prediction of
        sky counts as `FAR`, so that it cannot improve the metrics.
        """
        found = score(z.float().cpu().numpy(), truth.float().cpu().numpy(), NEAR, FAR)
        if found is None:
            return None
        plain, fitted = found.errors['metres'], found.errors['median']
        return Score(plain.abs_rel, plain.delta1, fitted.abs_rel, fitted.delta1)

    @staticmethod
    def mean(scores: list[Score | None]) -> Score:
        """Mean over several images."""
        rows = [(s.abs_rel, s.delta1, s.abs_rel_median, s.delta1_median) for s in scores if s]
        return Score(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))

    @staticmethod
    def quantile(scores: list[Score | None], q: float) -> Score:
        """Quantile 0..1 over several images, of each metric alone."""
        rows = [(s.abs_rel, s.delta1, s.abs_rel_median, s.delta1_median) for s in scores if s]
        return Score(*torch.tensor(rows).quantile(q, 0).tolist())

    def __str__(self) -> str:
        """All metrics in one line."""
        return (
            f'AbsRel {self.abs_rel:.3f} delta1 {self.delta1:.3f}, after median scaling '
            f'{self.abs_rel_median:.3f} {self.delta1_median:.3f}'
        )
