# SPDX-License-Identifier: Apache-2.0
"""One robust fit of a network's map at anchors, to metres.

Four orders of correction, each with more freedom than the one before. A higher order is taken only
if it predicts anchors that it has not seen better than the lower one, beyond chance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from depth_ros.core.types import Anchors, Kind
from depth_ros.pipeline.scaling.correction import Correction
from depth_ros.pipeline.scaling.curves import (
    FEWEST_FOR_SHIFT,
    HOPELESS,
    Curve,
    K,
    fit_scale,
    fit_shift,
    fit_spline,
    robust_std,
    variance,
)
from depth_ros.pipeline.scaling.field import Field, fit_field
from depth_ros.pipeline.scaling.samples import Floats, Samples, sample, thin

#: orders of a fit, from the lowest: one factor; scale and shift of inverse depth; a monotone
#: curve; a factor that varies over the picture
ORDERS = ('scale', 'shift', 'spline', 'field')
#: relative standard deviation of depth anywhere in the picture above which a shift is undetermined
MAX_STD = 0.25
#: fraction of the anchors that must agree within a factor of 1.5
AGREEMENT = 0.4
#: a higher order must gain this many standard errors of the mean gain, and this much of log depth
EARNED, GAIN = 0.5, 1e-3
_QUANTILES = 0.1, 0.5, 0.9  #: of the map, where the shift must be determined
#: anchors for a shift of depth, which can do without; and depth in the image that it may move to
#: infinity
FEWEST_FOR_DEPTH, LOST = 8, 0.005


@dataclass(frozen=True, slots=True)
class Fit:
    """Result of a fit.

    Args:
        correction: from the network's values to metres; None if there is none, for `reason`.
        order: one of `ORDERS`; '' without a correction.
        spread: standard deviation of log scale; with a shift, of log depth in the middle of the
            map.
        covariance: (P, P) float64, of log scale and, where it was fitted, of shift [1/m].
        used: number of anchors that agree with it.
        refused: number of the others: outliers, outside the image, or without a prediction.
        residual: relative standard deviation of depth at held-out anchors, without outliers.
        steps: the orders that were earned on the way to this one, from the lowest.
        typical: (3,) float64, values of the network in the image: low, median, high.
        rgb: (h, w, 3) float64, 0..1, the image on the grid of the field.
        reason: why there is no correction; ''.
    """

    correction: Correction | None
    order: str = ''
    spread: float = np.nan
    covariance: Floats | None = None
    used: int = 0
    refused: int = 0
    residual: float = np.nan
    steps: tuple[str, ...] = ()
    typical: Floats | None = None
    rgb: Floats | None = None
    reason: str = ''


@dataclass(frozen=True, slots=True)
class _Candidate:
    steps: tuple[str, ...]
    curve: Curve
    field: Field | None = None

    @property
    def held_out(self) -> Floats:
        return self.field.held_out if self.field else self.curve.held_out


def fit(
    values: Tensor,
    kind: Kind,
    anchors: Anchors,
    rgb: Tensor,
    *,
    max_order: str = 'field',
    favour: tuple[str, ...] = (),
) -> Fit:
    """Fit a map at anchors.

    Args:
        values: (H, W) float32, on any device: depth in any unit, or affine-inverse depth.
        kind: meaning of `values`; AFFINE_INVERSE needs a shift.
        anchors: in the pixels of `values`.
        rgb: (H, W, 3) uint8, the image, on the same device.
        max_order: one of `ORDERS`.
        favour: the steps of the fit before; each is left only for a clearly better one.

    Returns:
        The fit, or the reason why these anchors give none.
    """
    inverse = kind is Kind.AFFINE_INVERSE
    samples = sample(values, rgb, anchors, positive=not inverse)
    total = len(samples) + samples.dropped
    if not len(samples):
        outside = f': all {total} are outside the image or without a prediction' if total else ''
        return Fit(None, reason=f'no anchors{outside}', refused=total)
    ratio = samples.log_z if inverse else samples.log_z - np.log(samples.places.values)
    samples = thin(samples, ratio)
    first: Curve | str = fit_scale(samples) if not inverse else _shift(samples, inverse=True)
    if isinstance(first, str):
        return Fit(None, reason=first, refused=total)
    best = _best(samples, first, 'shift' if inverse else 'scale', max_order, favour)
    agree = np.abs(best.held_out) <= np.maximum(HOPELESS, K * samples.sigma)
    if np.mean(agree) < AGREEMENT:
        return Fit(
            None,
            reason=f'the anchors contradict each other: {np.sum(agree)} of {len(agree)} agree '
            f'within a factor of {np.exp(HOPELESS):.1f}; the minimum is {AGREEMENT:.0%}',
            refused=total,
        )
    return _result(best, samples)


def _best(
    samples: Samples, curve: Curve, order: str, max_order: str, favour: tuple[str, ...]
) -> _Candidate:
    """The order that predicts held-out anchors best."""
    first = best = _Candidate((order,), curve)
    inverse, highest = curve.correction.inverse, ORDERS.index(max_order)
    cap = K * max(robust_std(curve.held_out), 1e-3)
    if highest >= ORDERS.index('shift') and not inverse and len(samples) >= FEWEST_FOR_DEPTH:
        shifted = _shift(samples, inverse=False)
        if isinstance(shifted, Curve):
            best = _better(best, _Candidate((*best.steps, 'shift'), shifted), cap, favour)
    if highest >= ORDERS.index('spline'):
        bent = fit_spline(samples, best.curve)
        if bent is not None:
            best = _better(best, _Candidate((*best.steps, 'spline'), bent), cap, favour)
    if highest >= ORDERS.index('field'):
        # of the first curve: a field contains what a curve can do where there are anchors, and
        # curves below it would differ from frame to frame
        with np.errstate(divide='ignore'):
            log_z_grid = np.log(curve.correction.at(samples.grid.values))
        field = fit_field(samples, curve.residual, samples.log_z - curve.residual, log_z_grid)
        if field is not None:
            best = _better(best, _Candidate((*first.steps, 'field'), curve, field), cap, favour)
    return best


def _better(
    lower: _Candidate, higher: _Candidate, cap: float, favour: tuple[str, ...]
) -> _Candidate:
    """The higher order where its errors on held-out anchors are smaller, beyond chance."""
    before, after = (np.minimum(np.abs(c.held_out), cap) for c in (lower, higher))
    gain = before - after
    doubt = EARNED * float(np.std(gain)) / np.sqrt(len(gain)) + GAIN
    if favour:  # what the fit before had stays unless the other is clearly better: no flicker
        doubt *= -1 if higher.steps[-1] in favour else 2
    return higher if np.mean(gain) > doubt else lower


def _shift(samples: Samples, *, inverse: bool) -> Curve | str:
    """Scale and shift, or why these anchors do not determine them."""
    curve = fit_shift(samples, inverse=inverse)
    if curve is None:
        return (
            'the anchors do not determine scale and shift: they are fewer than '
            f'{FEWEST_FOR_SHIFT}, or where the network predicts about the same'
        )
    correction = curve.correction
    at = _typical(samples, correction)
    at = at[np.isfinite(correction.at(at))]
    if not inverse:
        everywhere = samples.grid.values[samples.grid.values > 0]  # NaN is not
        if np.mean(np.isinf(correction.at(everywhere))) > LOST:
            return 'the shift moves depth of the picture to infinity'
    std = np.sqrt(log_variance(correction, curve.covariance, at))
    worst = float(np.max(std, initial=0.0 if len(at) else np.inf))
    if worst > MAX_STD:
        return (
            f'the anchors do not determine the shift: depth in the picture would be uncertain by '
            f'{worst:.0%}; the maximum is {MAX_STD:.0%}. They need more spread in depth'
        )
    return curve


def _typical(samples: Samples, correction: Correction) -> Floats:
    """(3,) values of the network in the image: low, median, high; without the sky.

    Most of an image may be sky, which has no depth; a shift makes that of a network infinite.
    """
    known = np.isfinite(samples.grid.values)
    if correction.inverse:
        known &= np.isfinite(correction.at(samples.grid.values))
    else:
        known &= samples.grid.values > 0
    values = samples.grid.values[known] if known.any() else samples.places.values
    return np.asarray(np.quantile(values, _QUANTILES))


def log_variance(correction: Correction, covariance: Floats, values: Floats) -> Floats:
    """Variance of the logarithm of corrected depth, without spline and field.

    Args:
        correction: of the fit.
        covariance: (1, 1) or (2, 2), of the fit.
        values: (N,) of the network, whose corrected depth is finite.
    """
    if len(covariance) == 1:
        return np.full(len(values), covariance[0, 0])
    plain = replace(correction, spline=None, field=None)
    z, shift = plain.at(values), correction.shift
    sign = -1.0 if correction.inverse else 1.0
    slope = np.stack([sign * (1 - shift * z), -z], 1)  # of log z over log scale and shift
    return np.asarray(np.einsum('ij,jk,ik->i', slope, covariance, slope))


def _result(best: _Candidate, samples: Samples) -> Fit:
    correction, curve = best.curve.correction, best.curve
    used, residual = curve.used, curve.residual
    covariance = curve.covariance
    if best.field is not None:
        used, residual = best.field.used, best.held_out
        # the field varies around 1, so that the scale is what remains when it fades
        middle = float(np.exp(np.mean(np.log(best.field.factor))))
        field = (best.field.factor / middle).astype(np.float32)
        correction = replace(correction.scaled(middle), field=field)
        certain = variance(samples, residual, used) / variance(samples, curve.residual, curve.used)
        covariance = covariance * min(1.0, certain)
    count = int(used.sum())
    typical = _typical(samples, replace(correction, spline=None, field=None))
    with np.errstate(invalid='ignore'):
        spread = float(np.sqrt(log_variance(correction, covariance, typical)[1]))
    return Fit(
        correction,
        best.steps[-1],
        spread,
        covariance,
        count,
        len(samples) - count + samples.dropped,
        robust_std(best.held_out[used]) if count > len(covariance) else np.nan,
        best.steps,
        typical,
        samples.grid.rgb.reshape(*samples.shape, 3),
    )
