# SPDX-License-Identifier: Apache-2.0
"""What is minimised, and what is measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

NEAR, FAR = 0.3, 80.0  # depths that are learnt and measured [m]
SCALES = 4  # of the gradient loss, each half as fine as the one before


def loss(log_zc: Tensor, sky: Tensor, z: Tensor, log_zoom: Tensor) -> Tensor:
    """Mean absolute error of log depth, of its gradients at several scales, and of the sky.

    Args:
        log_zc: (B, h, w) answered logarithm of canonical depth.
        sky: (B, h, w) answered logit.
        z: (B, h, w) true [m], +Inf where there is sky.
        log_zoom: (B,) log(f_c / f).

    Returns:
        A number.
    """
    is_sky = torch.isinf(z)
    seen = (~is_sky).float()
    error = log_zc - log_zoom[:, None, None] - z.clamp(NEAR, FAR).log()
    # beyond the range any answer beyond it is right
    error = torch.where(z > FAR, error.clamp(max=0), error) * seen
    total = error.abs().sum() / seen.sum().clamp(min=1)
    for k in range(SCALES):
        step = 2**k
        coarse, weight = error[:, ::step, ::step], seen[:, ::step, ::step]
        for axis in (1, 2):
            n = coarse.shape[axis] - 1
            both = weight.narrow(axis, 1, n) * weight.narrow(axis, 0, n)
            slope = (coarse.narrow(axis, 1, n) - coarse.narrow(axis, 0, n)).abs() * both
            total = total + 0.25 * slope.sum() / both.sum().clamp(min=1)
    return total + 0.2 * F.binary_cross_entropy_with_logits(sky, is_sky.float())


@dataclass(frozen=True, slots=True)
class Score:
    """How far depth is from the truth; means over pictures.

    Args:
        abs_rel: mean |Z - truth| / truth, metres as they are.
        delta1: share of pixels less than 25 % off, metres as they are.
        abs_rel_median: `abs_rel` after the picture's median was made right.
        delta1_median: likewise.
    """

    abs_rel: float
    delta1: float
    abs_rel_median: float
    delta1_median: float

    @staticmethod
    def of(z: Tensor, truth: Tensor) -> Score | None:
        """Of one picture (H, W) [m]; None if there is nothing to compare.

        Pixels count where the truth lies in `NEAR`..`FAR`; what is answered as sky counts as
        `FAR`, so that leaving out what is hard does not pay.
        """
        both = (truth >= NEAR) & (truth <= FAR) & ~torch.isnan(z)
        if both.sum() < 100:
            return None
        truth, z = truth[both].float(), z[both].float().clamp(1e-3, FAR)
        fitted = z * (truth.median() / z.median())
        return Score(*_errors(z, truth), *_errors(fitted, truth))

    @staticmethod
    def mean(scores: list[Score | None]) -> Score:
        """Of several pictures."""
        rows = [(s.abs_rel, s.delta1, s.abs_rel_median, s.delta1_median) for s in scores if s]
        return Score(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))

    def __str__(self) -> str:
        """Both pairs in one line."""
        return (
            f'AbsRel {self.abs_rel:.3f} delta1 {self.delta1:.3f}, after median scaling '
            f'{self.abs_rel_median:.3f} {self.delta1_median:.3f}'
        )


def _errors(z: Tensor, truth: Tensor) -> tuple[float, float]:
    ratio = torch.maximum(z / truth, truth / z)
    return float(((z - truth).abs() / truth).mean()), float((ratio < 1.25).float().mean())
