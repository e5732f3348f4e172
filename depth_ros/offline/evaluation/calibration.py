# SPDX-License-Identifier: Apache-2.0
"""`scaling.scale` and `scaling.shift` of a network, measured where depth is known.

For each frame the factor is the median of truth / prediction, so that no few wrong pixels move it;
the result is the median over the frames, so that no few wrong frames do. Affine-inverse networks
get scale and shift by the robust fit of `pipeline.scaling.fit` to pixels of all frames together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from depth_ros.core.errors import ScaleError
from depth_ros.core.types import Anchors, Kind
from depth_ros.pipeline.scaling.fit import fit

FEWEST = 100  #: pixels of a frame, from measured depth
FEW_FRAMES = 3  #: with fewer nothing is known about how the scale differs between frames
TAKEN = 2000  #: pixels of a frame for scale and shift
#: standard deviation of log factor over the frames above which a constant is of little help
UNSTEADY = 0.1
SIGMA = 0.05  #: relative error of a prediction at a pixel, for the fit
#: digits of what is printed: an error of 1e-6 at most
DIGITS = 7

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """Pixels of a frame whose depth is known.

    Args:
        name: of the frame.
        raw: (N,) `network.Predicted.raw`, finite.
        truth: (N,) [m].
    """

    name: str
    raw: Floats
    truth: Floats

    @classmethod
    def of(
        cls, name: str, raw: NDArray[Any], truth: NDArray[Any], near: float, far: float
    ) -> Sample:
        """Pixels of a depth map whose truth is between two limits [m]."""
        with np.errstate(invalid='ignore'):
            used = np.isfinite(raw) & (truth >= near) & (truth <= far)
        return cls(name, raw[used].astype(np.float64), truth[used].astype(np.float64))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured.

    Args:
        scale: `scaling.scale`.
        shift: `scaling.shift` [1/m]; 0 for networks of other kinds than affine-inverse.
        names: of the frames.
        ratios: of each frame, the factor by which its depth is still wrong: median of
            truth / depth with `scale` and `shift`. Their median is 1.
        pixels: of all frames.
        left_out: number of frames with too few pixels.
    """

    scale: float
    shift: float
    names: tuple[str, ...]
    ratios: Floats
    pixels: int
    left_out: int = 0

    @property
    def spread(self) -> float:
        """Robust standard deviation of the logarithm of the ratios."""
        return 1.4826 * float(np.median(np.abs(np.log(self.ratios))))

    def warnings(self) -> list[str]:
        """Why the result is not to be trusted."""
        lines = []
        if self.left_out:
            lines.append(
                f'{counted(self.left_out)} left out: fewer than {FEWEST} pixels with known depth '
                'and a prediction'
            )
        if len(self.ratios) < FEW_FRAMES:
            lines.append(
                f'{counted(len(self.ratios))} only: how much the scale differs between frames is '
                f'not known; give {FEW_FRAMES} or more, of different places'
            )
        worst = max(self.spread, float(np.std(np.log(self.ratios))))
        if worst > UNSTEADY:
            low, high = self.ratios.min(), self.ratios.max()
            lines.append(
                f'the frames disagree by {100 * worst:.0f} % ({low:.2f} to {high:.2f} times): the '
                'scale of this network is not constant, and no constant corrects that. Anchors '
                'measure it in every frame: anchors.sources (docs/metres.md)'
            )
        return lines


def counted(frames: int) -> str:
    """1 frame, 2 frames."""
    return f'{frames} frame{"s" if frames != 1 else ""}'


def calibrate(samples: Sequence[Sample], *, affine: bool, fewest: int = FEWEST) -> Calibration:
    """Measure the scale, and the shift of affine-inverse networks.

    Args:
        samples: of the frames; those with too few pixels are left out.
        affine: the network is affine-inverse.
        fewest: pixels of a frame.

    Raises:
        ScaleError: nothing is left, or what is left does not determine them.
    """
    if not affine:  # depth that is not positive is none
        samples = [Sample(s.name, s.raw[s.raw > 0], s.truth[s.raw > 0]) for s in samples]
    total = len(samples)
    samples = [s for s in samples if len(s.raw) >= fewest]
    if not samples:
        raise ScaleError(
            f'no frame has {fewest} pixels with a known depth and a prediction: nothing can be '
            'measured'
        )
    scale, shift = _pooled(samples) if affine else (1.0, 0.0)

    def ratios() -> Floats:
        return np.array(
            [np.median(s.truth / _depth(s.raw, scale, shift, affine)) for s in samples]
        )

    middle = float(np.median(ratios()))
    if not 0 < middle < math.inf:
        raise ScaleError(
            'the network says infinitely far where depth was measured: check the input'
        )
    # Z = 1 / (scale v + shift)
    scale, shift = (scale / middle, shift / middle) if affine else (scale * middle, 0.0)
    scale, shift = (float(f'{x:.{DIGITS}g}') for x in (scale, shift))
    names = tuple(s.name for s in samples)
    pixels = sum(len(s.raw) for s in samples)
    return Calibration(scale, shift, names, ratios(), pixels, total - len(samples))


def _depth(raw: Floats, scale: float, shift: float, affine: bool) -> Floats:
    """Depth as `pipeline.scaling` makes it."""
    if not affine:
        return scale * raw
    inverse = scale * raw + shift
    return np.where(inverse > 0, 1 / np.where(inverse > 0, inverse, 1.0), np.inf)


def _pooled(samples: Sequence[Sample]) -> tuple[float, float]:
    """Scale and shift of inverse depth for all frames together, each with the same weight.

    Raises:
        ScaleError: the pixels do not determine them.
    """
    noise = np.random.default_rng(0)
    taken = [noise.choice(len(s.raw), TAKEN, replace=len(s.raw) < TAKEN) for s in samples]
    # rows of an image are the frames, the form in which `fit` takes values
    raw = np.stack([s.raw[k] for s, k in zip(samples, taken, strict=True)])
    truth = np.stack([s.truth[k] for s, k in zip(samples, taken, strict=True)])
    order = noise.permuted(np.arange(raw.size).reshape(raw.shape).ravel())
    side = max(2, math.isqrt(raw.size))
    order = order[: side * side]  # a square image, its pixels in random order
    values = torch.from_numpy(raw.ravel()[order].reshape(side, side).astype(np.float32))
    v, u = np.divmod(np.arange(side * side), side)
    z = truth.ravel()[order]
    anchors = Anchors(u.astype(float), v.astype(float), z, SIGMA * z)
    rgb = torch.zeros((side, side, 3), dtype=torch.uint8)
    found = fit(values, Kind.AFFINE_INVERSE, anchors, rgb, max_order='shift')
    if found.correction is None:
        raise ScaleError(f'scale and shift cannot be measured here: {found.reason}')
    return found.correction.scale, found.correction.shift


def lines(model: str, found: Calibration, kind: Kind) -> str:
    """The result as a params file of ROS."""
    rows = ['/**:', '  ros__parameters:', f'    model: {model}', '    scaling:']
    if kind in (Kind.SCALE_INVARIANT, Kind.AFFINE_INVERSE):
        rows.append('      method: constant')
    rows.append(f'      scale: {_number(found.scale)}')
    if kind is Kind.AFFINE_INVERSE:
        rows.append(f'      shift: {_number(found.shift)}')
    return '\n'.join(rows)


def _number(x: float) -> str:
    """With a decimal point, as YAML of ROS wants it for a double."""
    mantissa, e, exponent = f'{x:.{DIGITS}g}'.partition('e')
    return f'{mantissa if "." in mantissa else f"{mantissa}.0"}{e}{exponent}'
