# SPDX-License-Identifier: Apache-2.0
"""Metres of one camera by anchors: each frame's anchors are fitted, and the scale is tracked.

What is carried from one frame to the next:

- scale and shift, by the tracker, as log depth at two fixed values of the network. There the
  state means the same for every order of fit, and its noise is noise of the published depth;
- the shape relative to that scale: a spline belongs to the network and is that of the newest fit;
  a field belongs to the scene, so it is averaged over time where the image stays the same, is
  replaced where it changes, and fades out once no new one comes;
- the depth of the newest frame with anchors, on a coarse grid: where the scale of the network
  jumps from frame to frame, the frames until the next anchors are scaled to agree with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor

from depth_ros.core.errors import ScaleError
from depth_ros.core.types import Anchors, Frame, Kind, Prediction, ScaleState
from depth_ros.parameters.settings import ScalingSettings
from depth_ros.pipeline.scaling.correction import Correction
from depth_ros.pipeline.scaling.field_mean import FieldMean
from depth_ros.pipeline.scaling.fit import Fit, fit, log_variance
from depth_ros.pipeline.scaling.samples import Floats
from depth_ros.pipeline.scaling.tracker import BELIEVED, GATE, Estimate, ScaleTracker

#: name of a source -> its anchors in this frame; without sources that have nothing new
Source = Callable[[Frame, Prediction], Mapping[str, Anchors]]

#: for how long anchors are used again in later frames [s]
REUSE_S = 0.5
#: relative change of depth at a pixel in one second, because camera and objects move
CHANGE = 0.2
#: the same where image and anchors show that nothing moves
NO_CHANGE = 0.02
#: jitter of a network below which frames without anchors are not corrected
STEADY = 0.01
#: ratio of the two depths at which the scale is tracked, at least
APART = 1.7
#: anchors that agree, and their share, with which a fit is not doubted after `REUSE_S`: the scene
#: may be another one, as in recordings of few images per second
MANY, MOST = 50, 0.8
STRIDE = 16  #: of the grid on which frames are compared [px]
FARTHEST_M = 1e3  #: depth that stands for infinity in the tracker


class AnchoredScale:
    """Scale of one camera.

    Args:
        source: gives the anchors of each frame.
        reasons: returns why sources had none for the newest frame, by name.

    Attributes:
        state: of the newest frame; replaced as a whole, so that other threads may read it.
        anchors: that the source gave for the newest frame; None for none.
    """

    def __init__(
        self, source: Source, reasons: Callable[[], Mapping[str, str]] = lambda: {}
    ) -> None:
        self.source = source
        self.reasons = reasons
        self.clear()

    def clear(self) -> None:
        """Start again without a scale."""
        self.state = ScaleState()
        self.anchors: Anchors | None = None
        self._tracker = ScaleTracker()
        self._fit: Fit | None = None
        self._fit_ns = 0
        self._field = FieldMean()
        #: depth of the newest frame with anchors, on a coarse grid, and the variance of its scale
        self._before: Tensor | None = None
        self._variance: Floats = np.zeros(0)
        self._contradictions = 0  # fits in turn that contradict it while nothing moves
        self._references: Floats = np.zeros(0)
        self._recent: dict[str, tuple[int, Anchors]] = {}  # source -> stamp, anchors

    def __call__(
        self, values: Tensor, prediction: Prediction, frame: Frame, settings: ScalingSettings
    ) -> Tensor:
        """Metres of the camera's next frame.

        Args:
            values: (H, W) float32, of the network, as `Scaling` with method 'anchors' gives them.
            prediction: of the frame.
            frame: undistorted.
            settings: of this frame.

        Returns:
            (H, W) float32 [m], with what is no depth still to be marked.

        Raises:
            ScaleError: no scale is known yet, or it is older than allowed.
        """
        stamp_ns = frame.stamp_ns
        if self._tracker.forget_if_back(stamp_ns):
            self.clear()
        found = {name: a for name, a in self.source(frame, prediction).items() if len(a)}
        self.anchors = Anchors.joined(found.values()) if found else None
        if not found and (reasons := self.reasons()):
            why = '; '.join(f'{name}: {reason}' for name, reason in reasons.items())
            self.state = replace(self.state, reason=why)
        estimate = held = self._tracker.hold(stamp_ns)
        coarse = values[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        if found:
            estimate = self._measure(values, coarse, prediction.kind, frame, found, settings, held)
            estimate = estimate or held
        elif self._tracker.jitter > STEADY:
            estimate = self._again(coarse, held, stamp_ns)
        if estimate is None or self._fit is None or self._tracker.measured_ns is None:
            raise ScaleError(
                f'no depth is published before anchors give its scale: {self.state.reason}'
            )
        age_s = max(0, stamp_ns - self._tracker.measured_ns) * 1e-9
        self._refuse_old(age_s, settings)
        correction = self._correction(estimate.value, stamp_ns)
        z = correction(values)
        if found and not estimate.gated:
            self._before, self._variance = correction(coarse).clone(), estimate.variance
        self.state = replace(
            self.state,
            scale=correction.scale,
            shift=correction.shift,
            spread=float(np.sqrt(np.mean(estimate.variance))),
            age_s=age_s,
            jumps=self._tracker.jumps,
        )
        return z

    def _measure(
        self,
        values: Tensor,
        coarse: Tensor,
        kind: Kind,
        frame: Frame,
        found: Mapping[str, Anchors],
        settings: ScalingSettings,
        held: Estimate | None,
    ) -> Estimate | None:
        """Fit the anchors of this frame, together with recent ones of the other sources."""
        stamp_ns = frame.stamp_ns
        self._recent |= {name: (stamp_ns, anchors) for name, anchors in found.items()}
        recent = self._recent_anchors(stamp_ns)
        new = fit(
            values,
            kind,
            Anchors.joined(recent.values()),
            frame.rgb,
            max_order=settings.max_order,
            favour=self._fit.steps if self._fit else (),
        )
        self.state = replace(self.state, refused=new.refused, reason=new.reason)
        if new.correction is None:
            return None
        if self._tracker.measured_ns is None:
            self._references = _apart(new)
        measured, variance = self._at_references(new)
        change = self._change(coarse, held, stamp_ns)
        sure = self._is_sure(new, stamp_ns)
        estimate = self._tracker.update(measured, variance, stamp_ns, expected=change, sure=sure)
        if estimate.gated:
            factor = math.exp(float(np.mean(measured - estimate.value)))
            reason = f'the scale by the anchors differs by a factor of {factor:.2f} from before'
            self.state = replace(self.state, reason=f'{reason}; it is used once others agree')
            return estimate
        passed_s = (stamp_ns - self._fit_ns) * 1e-9
        self._field.add(new, stamp_ns)
        self._fit, self._fit_ns = new, stamp_ns
        self.state = replace(
            self.state,
            order=new.order,
            used=new.used,
            residual=new.residual,
            sources=tuple(recent),
        )
        if change is None or held is None or not self._field.still:
            return estimate
        # nothing moves: depth is that of before, too
        variance = self._variance + (NO_CHANGE * passed_s) ** 2
        value = held.value + change
        total = estimate.variance + variance
        contradicts = (np.abs(estimate.value - value) > GATE * np.sqrt(total)).any()
        self._contradictions = self._contradictions + 1 if contradicts else 0
        if self._contradictions == BELIEVED:
            self._contradictions = 0
            return estimate
        if contradicts:  # the errors of fits have long tails
            return Estimate(value, total)
        weight = variance / total
        return Estimate(value + weight * (estimate.value - value), weight * estimate.variance)

    def _is_sure(self, new: Fit, stamp_ns: int) -> bool:
        """Whether a fit counts more than what was measured before: many anchors, long after."""
        agree = new.used >= MANY and new.used >= MOST * (new.used + new.refused)
        return agree and stamp_ns - (self._tracker.measured_ns or 0) >= REUSE_S * 1e9

    def _recent_anchors(self, stamp_ns: int) -> dict[str, Anchors]:
        """Anchors that are not too old, with less weight the older they are."""
        recent = {}
        for name, (at_ns, anchors) in self._recent.items():
            age_s = (stamp_ns - at_ns) * 1e-9
            if 0 <= age_s <= REUSE_S:
                moved = CHANGE * age_s * anchors.z
                recent[name] = replace(anchors, sigma=np.hypot(anchors.sigma, moved))
        return recent

    def _at_references(self, new: Fit) -> tuple[Floats, Floats]:
        """Log scale at the two references, and its variance."""
        assert new.correction is not None and new.covariance is not None
        plain = replace(new.correction, spline=None, field=None)
        z = np.minimum(plain.at(self._references), FARTHEST_M)
        variance = log_variance(plain, new.covariance, self._references)
        measured = np.log(z)
        if not plain.inverse:
            measured -= np.log(self._references)
        return measured, np.where(z < FARTHEST_M, variance, 1.0) + 1e-8

    def _correction(self, log_scale: Floats, stamp_ns: int) -> Correction:
        """The shape of the newest fit, with the tracked scale and shift."""
        assert self._fit is not None and self._fit.correction is not None
        shape = self._fit.correction
        scale, shift = _line(log_scale, self._references, inverse=shape.inverse)
        field = self._field.at(stamp_ns)
        if not scale > 0:  # the two depths changed their order while each followed its own noise
            return replace(shape, field=field)
        return replace(shape, scale=scale, shift=shift, field=field)

    def _change(self, coarse: Tensor, held: Estimate | None, stamp_ns: int) -> float | None:
        """Log scale by which most pixels agree with the newest frame with anchors.

        Args:
            coarse: (h, w) values of the network on the coarse grid.
            held: the scale as it would be without this.
            stamp_ns: of the frame.
        """
        if held is None or self._before is None or self._before.shape != coarse.shape:
            return None
        if stamp_ns - (self._tracker.measured_ns or 0) > REUSE_S * 1e9:
            return None
        ratio = (self._before / self._correction(held.value, stamp_ns)(coarse)).log()
        change = float(ratio[ratio.isfinite()].nanmedian())
        return change if math.isfinite(change) else None

    def _again(self, coarse: Tensor, held: Estimate | None, stamp_ns: int) -> Estimate | None:
        """The scale of a frame without anchors, by agreement with the newest one with anchors."""
        change = self._change(coarse, held, stamp_ns)
        if held is None or change is None:
            return held
        assert self._tracker.measured_ns is not None  # there is a frame with anchors
        moved = CHANGE * (stamp_ns - self._tracker.measured_ns) * 1e-9
        variance = np.full(len(held.value), moved**2)
        return self._tracker.update(held.value + change, variance, stamp_ns, again=True)

    def _refuse_old(self, age_s: float, settings: ScalingSettings) -> None:
        """Raise where the scale is older than allowed."""
        self.state = replace(self.state, age_s=age_s)
        if settings.after_max_age == 'stop' and age_s > settings.max_age:
            because = f': {self.state.reason}' if self.state.reason else ''
            raise ScaleError(
                f'no depth is published: the newest anchors are {age_s:.1f} s old, and '
                f'scaling.max_age is {settings.max_age:g} s{because}'
            )


def _apart(new: Fit) -> Floats:
    """Two values of the network, at different depths in the image of a fit."""
    assert new.correction is not None and new.typical is not None
    low, middle, high = new.typical
    if new.correction.inverse:
        return np.array([low, high])
    ratio = max(math.sqrt(APART), math.sqrt(high / low))
    return np.array([middle / ratio, middle * ratio])


def _line(log_scale: Floats, references: Floats, *, inverse: bool) -> tuple[float, float]:
    """Scale and shift that give the two depths at the two references."""
    if not inverse and abs(log_scale[0] - log_scale[1]) < 1e-9:
        return math.exp(log_scale[0]), 0.0
    log_z = log_scale if inverse else log_scale + np.log(references)
    x = references if inverse else 1 / references
    inverse_z = np.exp(-log_z)
    slope = float((inverse_z[1] - inverse_z[0]) / (x[1] - x[0]))
    shift = float(inverse_z[0] - slope * x[0])
    if inverse or slope <= 0:
        return slope, shift
    return 1 / slope, shift
