# SPDX-License-Identifier: Apache-2.0
"""Metrics of depth against measured depth, of one image; NumPy only.

AbsRel, SqRel, RMSE, log RMSE and delta are those of Eigen et al. 2014 (arXiv 1406.2283), SILog is
that of the KITTI depth benchmark, 100 times the standard deviation of the error of log depth. The
alignment of scale and shift is that of Ranftl et al. 2020 (MiDaS, arXiv 1907.01341).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FEWEST = 100  #: pixels of an image that can be compared; with fewer there are no metrics
FEWEST_IN_BAND = 20  #: likewise of a band of depth
#: limits of the bands of depth [m]
BANDS = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
FLOOR = 1e-3  #: smallest depth that a prediction counts as [m]
#: what is done to the prediction before it is compared
ALIGNMENTS = ('metres', 'median', 'affine')

Floats = NDArray[np.float64]
Depth = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Errors:
    """Metrics of depth Z against its truth, over the pixels of an image or a band of depth.

    Args:
        abs_rel: mean of |Z - truth| / truth.
        sq_rel: mean of (Z - truth)^2 / truth [m].
        rmse: root of the mean of (Z - truth)^2 [m].
        log_rmse: root of the mean of (ln Z - ln truth)^2.
        silog: 100 times the standard deviation of ln Z - ln truth.
        delta1: fraction of pixels with max(Z / truth, truth / Z) < 1.25.
        delta2: the same for 1.25^2.
        delta3: the same for 1.25^3.
    """

    abs_rel: float
    sq_rel: float
    rmse: float
    log_rmse: float
    silog: float
    delta1: float
    delta2: float
    delta3: float

    @classmethod
    def of(cls, z: Floats, truth: Floats) -> Errors:
        """Metrics of (N,) positive depths [m]; N is not 0."""
        difference = z - truth
        log_error = np.log(z) - np.log(truth)
        ratio = np.exp(np.abs(log_error))
        return cls(
            float(np.mean(np.abs(difference) / truth)),
            float(np.mean(difference**2 / truth)),
            float(np.sqrt(np.mean(difference**2))),
            float(np.sqrt(np.mean(log_error**2))),
            float(100 * np.std(log_error)),
            *(float(np.mean(ratio < 1.25**k)) for k in (1, 2, 3)),
        )


METRICS = tuple(field.name for field in fields(Errors))


@dataclass(frozen=True, slots=True)
class Score:
    """What is known of one image.

    Args:
        pixels: whose truth is in the range that is compared, and that have a prediction.
        missing: fraction of the pixels with such a truth whose prediction is NaN. They are in no
            metric.
        sky: fraction of them whose prediction is +Inf. It counts as the end of the range.
        too_near: fraction of them whose prediction is -Inf. It counts as the start of the range.
        beyond: fraction of the pixels with any truth whose truth is outside of the range. They
            are in no metric.
        ratio: median of truth / prediction; the factor that would make this image right.
        errors: by alignment: 'metres' as predicted; 'median' after one factor that makes the
            median right; 'affine' after scale and shift of inverse depth.
        bands: for each of `BANDS` with enough pixels: its start and end [m], number of pixels,
            AbsRel and delta1 by alignment.
    """

    pixels: int
    missing: float
    sky: float
    too_near: float
    beyond: float
    ratio: float
    errors: dict[str, Errors]
    bands: tuple[tuple[float, float, int, dict[str, tuple[float, float]]], ...]


def score(
    z: Depth, truth: Depth, near: float, far: float, values: Depth | None = None
) -> Score | None:
    """Metrics of one image.

    Args:
        z: (H, W) predicted depth [m]: NaN where there is none, +Inf for sky or beyond range, -Inf
            for too near.
        truth: (H, W) measured depth [m], NaN or not positive where there is none.
        near: smallest truth that is compared [m].
        far: largest truth that is compared [m].
        values: (H, W) inverse depth up to scale and shift, for the affine alignment; None takes
            1 / `z`.

    Returns:
        None if fewer than `FEWEST` pixels can be compared.
    """
    with np.errstate(invalid='ignore'):
        measured = np.isfinite(truth) & (truth > 0)
        wanted = measured & (truth >= near) & (truth <= far)
    both = wanted & ~np.isnan(z)
    if np.count_nonzero(both) < FEWEST:
        return None
    true, predicted = truth[both].astype(np.float64), z[both].astype(np.float64)
    total = np.count_nonzero(wanted)
    sky, too_near = np.isposinf(predicted), np.isneginf(predicted)
    predicted = np.where(too_near, near, predicted)
    predicted = np.clip(predicted, FLOOR, far)
    inverse = 1 / predicted if values is None else values[both].astype(np.float64)
    aligned = {
        'metres': predicted,
        'median': predicted * (np.median(true) / np.median(predicted)),
        'affine': _affine(inverse, true, far),
    }
    errors = {name: Errors.of(depth, true) for name, depth in aligned.items()}
    return Score(
        len(true),
        1 - len(true) / total,
        np.count_nonzero(sky) / total,
        np.count_nonzero(too_near) / total,
        1 - total / np.count_nonzero(measured),
        float(np.median(true / predicted)),
        errors,
        tuple(_bands(aligned, true)),
    )


def _affine(inverse: Floats, truth: Floats, far: float) -> Floats:
    """Depth after the scale and shift of inverse depth with the least squares to 1 / truth."""
    known = np.isfinite(inverse)
    design = np.stack((inverse[known], np.ones(np.count_nonzero(known))), 1)
    scale, shift = np.linalg.lstsq(design, 1 / truth[known], rcond=None)[0]
    fitted = scale * np.where(known, inverse, 0.0) + shift
    return np.asarray(1 / np.clip(fitted, 1 / far, 1 / FLOOR))


def _bands(
    aligned: dict[str, Floats], truth: Floats
) -> list[tuple[float, float, int, dict[str, tuple[float, float]]]]:
    rows = []
    for start, end in pairwise(BANDS):
        inside = (truth >= start) & (truth < end)
        count = int(np.count_nonzero(inside))
        if count < FEWEST_IN_BAND:
            continue
        errors = {name: Errors.of(z[inside], truth[inside]) for name, z in aligned.items()}
        rows.append((start, end, count, {n: (e.abs_rel, e.delta1) for n, e in errors.items()}))
    return rows
