# SPDX-License-Identifier: Apache-2.0
"""A smooth field of log scale over the picture, which follows the edges of image and prediction.

Gaussian process regression: anchors are alike where they are near each other in the picture, in
colour and in depth; far from all anchors the field ends in their mean. Outliers are found by
predicting each anchor from its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.pipeline.scaling.curves import K, median, robust_std
from depth_ros.pipeline.scaling.samples import Floats, Places, Samples

FEWEST = 6  #: anchors for a field
#: over which distance in the picture (1 is the square root of its area), in colour (0..1) and in
#: log depth anchors become unlike
LENGTHS = 0.3, 1.0, 0.5
#: variance of the field, of one anchor around it and of the mean of all, each relative to the
#: variance of the anchors around the curve
FIELD, NOISE, MEAN = 0.5, 0.07, 4.0
NEIGHBOURS = 8  #: of which the median is compared with an anchor at first
CLOSE = 2.0  #: robust standard deviations from that median within which an anchor is used at first

Single = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Field:
    """A fitted field.

    Args:
        factor: (h, w) float32, on the grid of the samples.
        at_anchors: (N,) float64, logarithm of the factor at the anchors.
        held_out: (N,) float64, log true depth - log corrected depth, each anchor left out in turn.
        used: (N,) bool, False for outliers.
    """

    factor: Single
    at_anchors: Floats
    held_out: Floats
    used: NDArray[np.bool_]


def fit_field(
    samples: Samples, residual: Floats, log_z: Floats, log_z_grid: Floats
) -> Field | None:
    """The field that explains what a curve leaves; None for few anchors.

    Args:
        samples: the anchors.
        residual: (N,) float64, log true depth - log depth by the curve.
        log_z: (N,) float64, log depth by the curve.
        log_z_grid: (M,) float64, the same on the grid; NaN where it is not known.
    """
    n = len(samples)
    if n < FEWEST:
        return None
    middle = median(residual)
    y = (residual - middle).astype(np.float32)
    unit = max(robust_std(y), 1e-4)
    features = _features(samples.places, log_z)
    alike = np.exp(-_distance(features, features))
    covariance = np.float32(unit**2) * (np.float32(FIELD) * alike + np.float32(MEAN))
    noise = (NOISE * unit**2 + samples.sigma**2).astype(np.float32)
    used = _agreeing(alike, y)
    if used.sum() < FEWEST:
        return None
    error, std, _ = _predict(covariance, noise, y, used)
    used = np.abs(error / std) <= K * max(robust_std(error / std), 0.5)
    if used.sum() < FEWEST:
        return None
    error, _, weights = _predict(covariance, noise, y, used)
    known = np.where(np.isfinite(log_z_grid), log_z_grid, np.median(log_z))
    across = np.exp(-_distance(_features(samples.grid, known), features[used]))
    unit2 = np.float32(unit**2)
    grid = unit2 * (FIELD * (across @ weights) + MEAN * weights.sum())
    factor = np.exp(grid + middle).reshape(samples.shape).astype(np.float32)
    at_anchors = middle + covariance[:, used] @ weights
    return Field(factor, at_anchors.astype(np.float64), error.astype(np.float64), used)


def _features(places: Places, log_z: Floats) -> Single:
    """(N, 6), in which a distance of 1 makes anchors unlike."""
    place, colour, depth = LENGTHS
    columns = (places.uv / place, places.rgb / colour, log_z[:, None] / depth)
    return np.concatenate(columns, 1).astype(np.float32)


def _distance(a: Single, b: Single) -> Single:
    """(A, B), Euclidean."""
    squares: Single = np.sum(a * a, 1)[:, None] + np.sum(b * b, 1) - 2 * (a @ b.T)
    np.maximum(squares, 0, out=squares)
    return np.sqrt(squares, out=squares)


def _agreeing(alike: Single, y: Single) -> NDArray[np.bool_]:
    """(N,), whether each is near the median of those most alike."""
    count = min(NEIGHBOURS, len(y) - 1)
    others = alike - 2 * np.eye(len(y), dtype=np.float32)
    nearest = np.argpartition(others, len(y) - count, axis=1)[:, len(y) - count :]
    error = y - np.sort(y[nearest], axis=1)[:, (count - 1) // 2 : count // 2 + 1].mean(axis=1)
    return np.asarray(np.abs(error) <= CLOSE * robust_std(error) + 1e-6)


def _predict(
    covariance: Single, noise: Single, y: Single, used: NDArray[np.bool_]
) -> tuple[Single, Single, Single]:
    """Error and its standard deviation of each anchor predicted from the others that are used.

    Returns:
        Both (N,), and (U,) the weights of the used ones.
    """
    own = covariance[np.ix_(used, used)]
    own[np.diag_indices_from(own)] += noise[used]
    inverse = cv2.invert(own, flags=cv2.DECOMP_CHOLESKY)[1]
    weights = inverse @ y[used]
    across = covariance[:, used]
    error = y - across @ weights
    var = np.diag(covariance) + noise - np.einsum('ij,ij->i', across @ inverse, across)
    # an anchor that is used must not predict itself
    error[used] = weights / np.diag(inverse)
    var[used] = 1 / np.diag(inverse)
    return error, np.sqrt(np.maximum(var, 1e-12)), weights
