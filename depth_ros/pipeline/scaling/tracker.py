# SPDX-License-Identifier: Apache-2.0
"""Log scale over time: smooth where the network is steady, at once where it is not.

The log scale of a frame is a slow level plus the jitter of the network, which differs from frame
to frame. A Kalman filter follows the level; how large the jitter is follows from how far the
measurements are from the level beyond their own noise. So a scale that is measured well is used as
it is, and noise of the anchors is averaged. Without a measurement the level holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from depth_ros.core.stamps import went_back

Floats = NDArray[np.float64]

#: standard deviation of the level's change in one second
DRIFT = 0.05
#: standard deviation of the jitter before it is known, and weight of a new measurement in it
JITTER, LEARNING = 0.05, 0.1
#: standard deviations, and log scale in addition, beyond which a measurement is a jump or wrong
GATE, STEP = 3.0, 0.05
#: a difference of log scale that is no jitter
LARGEST = 0.4
#: a jump is believed after so many measurements that agree, or two that are so far apart [ns]
BELIEVED, APART_NS = 3, 500_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """Log scale of one frame.

    Args:
        value: (D,) float64.
        variance: (D,) float64.
        gated: the measurement was not used, because it is far from those before.
    """

    value: Floats
    variance: Floats
    gated: bool = False


class ScaleTracker:
    """Tracks D log scales, each for itself.

    D is 2 where the network has a shift too: log depth at two values of the network.

    Attributes:
        measured_ns: stamp of the newest measurement that was used; None before the first.
        jumps: how often measurements far from those before were believed.
        gated: how many measurements were not used.
    """

    def __init__(self) -> None:
        self.jumps = self.gated = 0
        self.reset()

    @property
    def jitter(self) -> float:
        """Standard deviation of the scale from frame to frame, as far as measured."""
        return float(np.sqrt(np.max(self._jitter, initial=0.0)))

    def reset(self) -> None:
        """Start again without a scale."""
        self.measured_ns: int | None = None
        self._level: Floats = np.zeros(0)
        self._variance: Floats = np.zeros(0)
        self._jitter: Floats = np.zeros(0)
        self._at_ns = 0
        self._doubtful: list[tuple[int, Floats, Floats]] = []  # stamp, measured, variance

    def update(
        self,
        measured: Floats,
        variance: Floats,
        stamp_ns: int,
        *,
        expected: float | None = None,
        again: bool = False,
        sure: bool = False,
    ) -> Estimate:
        """Use a measurement.

        Args:
            measured: (D,) log scale of the frame at `stamp_ns`.
            variance: (D,) its variance.
            stamp_ns: of the frame.
            expected: difference from the level that the frame itself shows; a measurement that
                agrees with it is used for this frame, however large the difference.
            again: without new anchors: it says how this frame differs, and nothing new about the
                level.
            sure: it is right, even if it is far from those before.

        Returns:
            The log scale of this frame.
        """
        self.forget_if_back(stamp_ns)
        if self.measured_ns is None or len(measured) != len(self._level):
            return self._begin(measured, variance, stamp_ns)
        self._predict(stamp_ns)
        innovation = measured - self._level
        own = self._variance + np.maximum(self._jitter, 0)
        limit = GATE * np.sqrt(own + variance) + STEP
        if (np.abs(innovation) > (np.maximum(limit, LARGEST) if again else limit)).any():
            if sure:
                return self._believe(measured, variance, stamp_ns)
            held = self._jump(measured, variance, stamp_ns, again)
            if expected is None or (np.abs(innovation - expected) > limit).any():
                return held
            self.measured_ns = max(self.measured_ns, stamp_ns)
            return Estimate(measured, variance)
        total = own + variance
        gain = own / total
        estimate = Estimate(self._level + gain * innovation, (1 - gain) * own)
        if not again:
            self._doubtful = []
            self.measured_ns = max(self.measured_ns, stamp_ns)
            beyond = innovation**2 - self._variance - variance
            self._jitter += LEARNING * (beyond - self._jitter)
            gain = self._variance / total
            self._level = self._level + gain * innovation
            self._variance = (1 - gain) * self._variance
        return estimate

    def hold(self, stamp_ns: int) -> Estimate | None:
        """The log scale of a frame without a measurement; None before the first."""
        self.forget_if_back(stamp_ns)
        if self.measured_ns is None:
            return None
        self._predict(stamp_ns)
        return Estimate(self._level, self._variance + np.maximum(self._jitter, 0))

    def forget_if_back(self, stamp_ns: int) -> bool:
        """Start again if time did; whether it did."""
        if self.measured_ns is None or not went_back(stamp_ns, self._at_ns):
            return False
        self.reset()
        return True

    def _begin(self, measured: Floats, variance: Floats, stamp_ns: int) -> Estimate:
        self.measured_ns = self._at_ns = stamp_ns
        self._level, self._variance = measured.copy(), variance.copy()
        self._jitter = np.full(len(measured), JITTER**2)
        self._doubtful = []
        return Estimate(self._level, self._variance)

    def _predict(self, stamp_ns: int) -> None:
        """A late frame changes nothing: the level is that of the newest one."""
        passed_s = max(0, stamp_ns - self._at_ns) * 1e-9
        self._variance = self._variance + DRIFT**2 * passed_s
        self._at_ns = max(self._at_ns, stamp_ns)

    def _jump(self, measured: Floats, variance: Floats, stamp_ns: int, again: bool) -> Estimate:
        """Hold, until enough measurements agree with each other that the scale is another one."""
        own = self._variance + np.maximum(self._jitter, 0)
        held = Estimate(self._level, own, gated=True)
        if again:
            return held
        self.gated += 1
        # without this, jitter far larger than expected would never be learnt
        moderate = np.abs(measured - self._level) < LARGEST
        beyond = (measured - self._level) ** 2 - self._variance - variance
        self._jitter += np.where(moderate, LEARNING, 0) * (beyond - self._jitter)
        agreeing = []
        for before in self._doubtful:
            total = before[2] + variance + 2 * np.maximum(self._jitter, 0)
            if (np.abs(measured - before[1]) <= GATE * np.sqrt(total) + STEP).all():
                agreeing.append(before)
        self._doubtful = [*agreeing, (stamp_ns, measured, variance)]
        apart_ns = stamp_ns - self._doubtful[0][0]
        if len(self._doubtful) < BELIEVED and (not agreeing or apart_ns < APART_NS):
            return held
        return self._believe(measured, variance, stamp_ns)

    def _believe(self, measured: Floats, variance: Floats, stamp_ns: int) -> Estimate:
        """The scale is another one now."""
        self.jumps += 1
        jitter = self._jitter
        estimate = self._begin(measured, variance, stamp_ns)
        self._jitter = jitter
        return estimate
