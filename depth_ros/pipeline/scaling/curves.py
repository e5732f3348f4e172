# SPDX-License-Identifier: Apache-2.0
"""Fits of one curve for the whole picture: a scale, a scale and a shift, a monotone spline.

Each is robust: consensus first, then iterated reweighting. Residuals are of log depth; those on
held-out anchors follow from the leverage, without fitting again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depth_ros.pipeline.scaling.correction import Correction, Spline
from depth_ros.pipeline.scaling.samples import Floats, Samples

Used = NDArray[np.bool_]

K = 3.0  #: residuals beyond K robust standard deviations are refused
#: and those beyond HUBER weigh less: the errors of networks are far from normal, and a median of
#: them predicts depth better than a mean
HUBER = 0.5
ROUNDS = 6  #: of reweighting
#: relative error that a network is assumed to have where few anchors measure it; counts as this
#: many anchors
PRIOR_STD, PRIOR_COUNT = 0.1, 3
PAIRS = 200  #: of anchors, tried for scale and shift
#: a log residual that is as bad as any larger one, for consensus: a factor of 1.5
HOPELESS = 0.4
#: anchors for a shift: the third contradicts where one of two is wrong; and for a spline
FEWEST_FOR_SHIFT, FEWEST_FOR_SPLINE = 3, 13
MIN_SLOPE = 0.1  #: of log depth over log depth, of a spline


@dataclass(frozen=True, slots=True)
class Curve:
    """A fitted curve.

    Args:
        correction: without a field.
        residual: (N,) float64, log true depth - log corrected depth.
        held_out: (N,) float64, the same with each anchor left out in turn.
        used: (N,) bool, False for outliers.
        covariance: (P, P) float64 of the parameters (log scale; then shift [1/m]).
    """

    correction: Correction
    residual: Floats
    held_out: Floats
    used: Used
    covariance: Floats


def median(x: NDArray[Any]) -> float:
    """The middle one, the upper of two; in a fifth of the time of numpy's."""
    return float(np.partition(x, len(x) // 2)[len(x) // 2])


def robust_std(x: NDArray[Any]) -> float:
    """Standard deviation of what is not an outlier, from the median absolute value."""
    return 1.4826 * median(np.abs(x))


def independent(samples: Samples, used: Used) -> int:
    """Number of independent measurements: the used anchors within 1/7 of the picture are one."""
    cells = np.floor(7 * samples.places.uv[used]) @ np.array([1.0, 1e4])
    return max(1, len(set(cells.tolist())))


def variance(samples: Samples, residual: Floats, used: Used, parameters: int = 1) -> float:
    """Variance of log scale by all anchors, from their residuals and the prior of a few."""
    squares = PRIOR_COUNT * PRIOR_STD**2 + float(np.sum(residual[used] ** 2))
    count = PRIOR_COUNT + max(0, int(used.sum()) - parameters)
    one = squares / count + float(np.mean(samples.sigma[used] ** 2))
    return one / independent(samples, used)


def fit_scale(samples: Samples) -> Curve:
    """One factor on depth."""
    ratio = samples.log_z - np.log(samples.places.values)
    start = _weighted_median(ratio, _trust(samples.sigma))
    ones = np.ones((len(ratio), 1))
    log_scale, used, leverage = _reweighted(
        lambda p: (ratio - p[0], ones), np.array([start]), samples.sigma
    )
    residual = ratio - log_scale[0]
    return Curve(
        Correction(float(np.exp(log_scale[0]))),
        residual,
        _held_out(residual, leverage),
        used,
        np.array([[variance(samples, residual, used)]]),
    )


def _trust(sigma: Floats) -> Floats:
    """(N,) weight of each anchor before anything is known of the network's error."""
    return 1 / (sigma**2 + PRIOR_STD**2)


def _weighted_median(x: Floats, weights: Floats) -> float:
    """Where half of the weight is on either side."""
    order = np.argsort(x)
    x, weights = x[order], weights[order]
    middle = np.cumsum(weights) - weights / 2
    return float(np.interp(weights.sum() / 2, middle, x))


def fit_shift(samples: Samples, *, inverse: bool) -> Curve | None:
    """Scale and shift of inverse depth; None for few anchors, or if no pair has a positive scale.

    Args:
        samples: the anchors.
        inverse: the values are affine-inverse depth, else depth.
    """
    if len(samples) < FEWEST_FOR_SHIFT:
        return None
    q = samples.places.values if inverse else 1 / samples.places.values
    centre, unit = median(q), max(float(np.std(q)), 1e-12)
    x = (q - centre) / unit  # so that the two parameters are about independent
    start = _consensus(x, samples.log_z)
    if start is None:
        return None

    def model(p: Floats) -> tuple[Floats, Floats]:
        inverse_depth = p[0] + p[1] * x
        z = 1 / np.maximum(inverse_depth, 1e-6)
        return samples.log_z - np.log(z), -np.stack([z, z * x], 1)

    p, used, leverage = _reweighted(model, start, samples.sigma)
    slope = p[1] / unit
    shift = p[0] - slope * centre
    if not slope > 0 or not np.isfinite(p).all():
        return None
    residual, jacobian = model(p)
    correction = Correction(slope if inverse else 1 / slope, shift, inverse)
    return Curve(
        correction,
        residual,
        _held_out(residual, leverage),
        used,
        _covariance(samples, residual, jacobian, used, unit, centre, slope, inverse),
    )


def _consensus(x: Floats, log_z: Floats) -> Floats | None:
    """Intercept and slope of 1 / z over x, by the pair of anchors that most others agree with."""
    n, inverse = len(x), np.exp(-log_z)
    order = np.argsort(x)
    chosen = np.random.default_rng(0)  # the same answer for the same anchors
    low = order[chosen.integers(0, max(1, n // 2), PAIRS)]
    high = order[chosen.integers(n // 2, n, PAIRS)]
    distance = x[high] - x[low]
    apart = distance > 1e-9
    if not apart.any():
        return None
    low, high = low[apart], high[apart]
    slope = (inverse[high] - inverse[low]) / distance[apart]
    start = inverse[low] - slope * x[low]
    start, slope = start[slope > 0], slope[slope > 0]
    if not len(slope):
        return None
    predicted = start[:, None] + slope[:, None] * x
    with np.errstate(invalid='ignore', divide='ignore'):
        error = np.abs(np.log(np.where(predicted > 0, predicted, np.nan)) + log_z)
    error = np.nan_to_num(error, nan=HOPELESS, posinf=HOPELESS)
    best = int(np.argmin(np.minimum(error, HOPELESS).sum(axis=1)))
    return np.array([start[best], slope[best]], dtype=np.float64)


def _covariance(
    samples: Samples,
    residual: Floats,
    jacobian: Floats,
    used: Used,
    unit: float,
    centre: float,
    slope: float,
    inverse: bool,
) -> Floats:
    """(2, 2) of (log scale, shift), by as many anchors as are independent."""
    one = variance(samples, residual, used, 2) * used.sum()
    information = jacobian[used].T @ jacobian[used] / one
    own = _inverse(information)  # of the intercept at the centre, and of slope * unit
    sign = 1.0 if inverse else -1.0  # scale of depth is 1 / slope
    turn = np.array([[0.0, sign / (slope * unit)], [1.0, -centre / unit]])
    return np.asarray(turn @ own @ turn.T)


def fit_spline(samples: Samples, base: Curve) -> Curve | None:
    """A monotone curve of log depth over the log depth of another curve; None for few anchors."""
    if base.used.sum() < FEWEST_FOR_SPLINE:
        return None
    log_base = samples.log_z - base.residual
    inside = log_base[base.used]
    count = int(np.clip(base.used.sum() // 10, 3, 8))
    knots = np.quantile(inside, np.linspace(0.02, 0.98, count))
    knots = knots[np.concatenate([[True], np.diff(knots) > 0.02])]
    if len(knots) < 3:
        return None
    basis = _hats(log_base, knots)
    bend = np.diff(np.eye(len(knots)), 2, axis=0)
    stiff = bend.T @ bend + 0.01 * np.eye(len(knots))
    scaled = _reweighted(
        lambda p: (base.residual - basis @ p, basis),
        np.zeros(len(knots)),
        samples.sigma,
        stiff,
    )
    factor, used, leverage = scaled
    rising = knots + factor
    least = np.concatenate([[rising[0]], rising[0] + MIN_SLOPE * np.cumsum(np.diff(knots))])
    rising = np.maximum.accumulate(np.maximum(rising, least))
    spline = Spline(knots, rising - knots)
    residual = base.residual - spline(log_base)
    correction = Correction(
        base.correction.scale, base.correction.shift, base.correction.inverse, spline
    )
    return Curve(correction, residual, _held_out(residual, leverage), used, base.covariance)


def _hats(x: Floats, knots: Floats) -> Floats:
    """(N, K), the weight of each knot in linear interpolation."""
    return np.stack([np.asarray(np.interp(x, knots, row)) for row in np.eye(len(knots))], 1)


def _reweighted(
    model: Callable[[Floats], tuple[Floats, Floats]],
    start: Floats,
    sigma: Floats,
    penalty: Floats | None = None,
) -> tuple[Floats, Used, Floats]:
    """Weighted least squares, each round without what was an outlier in the round before.

    Args:
        model: parameters -> residuals (N,) and derivative of the prediction (N, P).
        start: (P,) parameters.
        sigma: (N,) standard deviation of the anchors.
        penalty: (P, P) in units of the inverse of the residuals' variance; or None.

    Returns:
        Parameters, which anchors were used, and the leverage of each.
    """
    p, trust = start, _trust(sigma)
    for _ in range(ROUNDS):
        residual, jacobian = model(p)
        spread = 1.4826 * _weighted_median(np.abs(residual), trust)
        used = np.abs(residual) <= K * np.maximum(spread, sigma)
        weights = used / (sigma**2 + spread**2 + 1e-12)
        weights /= np.maximum(np.abs(residual) / (HUBER * spread + 1e-9), 1.0)
        normal = jacobian.T @ (weights[:, None] * jacobian)
        gradient = jacobian.T @ (weights * residual)
        if penalty is not None:
            stiffness = penalty / (spread**2 + 1e-12)
            normal, gradient = normal + stiffness, gradient - stiffness @ p
        inverse = _inverse(normal)
        step = inverse @ gradient
        p = p + step
        if np.max(np.abs(step)) < 1e-4:  # of log depth
            break
    leverage = weights * np.sum((jacobian @ inverse) * jacobian, axis=1)
    return p, used, leverage


def _inverse(normal: Floats) -> Floats:
    """Inverse; of a matrix without one, with large entries."""
    return np.linalg.inv(normal + 1e-9 * np.trace(normal) * np.eye(len(normal)))


def _held_out(residual: Floats, leverage: Floats) -> Floats:
    return residual / np.maximum(1 - leverage, 0.05)
