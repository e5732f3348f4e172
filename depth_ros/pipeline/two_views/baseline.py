# SPDX-License-Identifier: Apache-2.0
"""Method `baseline`: metric scale from a known distance of two views.

scale = |t known| / |t estimated|. The known distance comes from a stereo calibration or odometry.
A network of two views may choose another unit for each pair; `spread` measures how much it varies.
"""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.types import Kind, Pose, Prediction

#: the scale is applied by `depth_ros.pipeline.two_views.views`
ACCEPTS = frozenset({Kind.SCALE_INVARIANT})

log = logging.getLogger(__name__)


def to_metres(prediction: Prediction, camera: Camera) -> Tensor:
    """The prediction, (H, W) float32, still to be multiplied by `BaselineScale.scale`."""
    return prediction.values


class BaselineScale:
    """Estimates the metric scale of `Pair`s, smoothed over pairs as a mean of logarithms.

    Args:
        min_baseline_m: minimum distance between the cameras [m].
        min_inliers: minimum fraction of pixels that agree with the pose, 0..1.
        max_error: maximum relative standard deviation of the estimated distance; above it the
            motion cannot be distinguished from a pure rotation.
        max_angle_deg: maximum angle between the estimated and the known direction of the second
            camera [deg], if it is known.
        memory: number of pairs over which the scale is averaged; 1 disables smoothing.

    Attributes:
        scale: metres per unit of the network; None before the first accepted pair.
        spread: relative standard deviation of the scale of a pair (0.05 is 5 %); before the second
            pair, computed from the covariance of the pose.
        measured: scale of the latest accepted pair alone; None before the first.
        accepted: number of accepted pairs.
        refused: reason why the latest pair was refused, with values; '' if it was accepted.
    """

    def __init__(
        self,
        *,
        min_baseline_m: float = 0.05,
        min_inliers: float = 0.5,
        max_error: float = 0.2,
        max_angle_deg: float = 30.0,
        memory: int = 10,
    ) -> None:
        self._min_baseline_m, self._min_inliers = min_baseline_m, min_inliers
        self._max_error, self._max_angle_deg = max_error, max_angle_deg
        self._memory = max(1, memory)
        self.reset()

    def reset(self) -> None:
        """Start again without a scale, for another scene or after time went back."""
        self.scale: float | None = None
        self.spread = math.nan
        self.measured: float | None = None
        self.accepted = 0
        self.refused = ''
        self._variance = 0.0

    def update(self, pose: Pose | None, known: NDArray[np.float64] | float) -> float | None:
        """Update the scale with a pair, or refuse the pair.

        Args:
            pose: estimated pose of the second camera; None if none was found.
            known: true T_first_second, (4, 4) with translation [m], or only the distance between
                the cameras [m].

        Returns:
            `scale`, which a refused pair does not change.
        """
        self.refused = self._reason_to_refuse(pose, known)
        if self.refused:
            log.debug('pair not used for the scale: %s', self.refused)
            return self.scale
        assert pose is not None  # otherwise it was refused
        self.measured = _metres(known) / pose.length
        self.accepted += 1
        if self.scale is None:
            self.scale, self._variance = self.measured, (pose.length_std / pose.length) ** 2
        else:
            weight = 1 / min(self.accepted, self._memory)  # arithmetic mean until memory is full
            step = math.log(self.measured / self.scale)
            self.scale *= math.exp(weight * step)
            self._variance = (1 - weight) * (self._variance + weight * step**2)
        self.spread = math.sqrt(self._variance)
        return self.scale

    def _reason_to_refuse(self, pose: Pose | None, known: NDArray[np.float64] | float) -> str:
        metres = _metres(known)
        if not metres >= self._min_baseline_m:  # also refuses NaN
            return f'known baseline is {metres:.3g} m; the minimum is {self._min_baseline_m:g} m'
        if pose is None:
            return 'no pose: the two images overlap too little'
        if pose.inliers < self._min_inliers:
            return f'{pose.inliers:.0%} inliers; the minimum is {self._min_inliers:.0%}'
        if not pose.length_std <= self._max_error * pose.length or pose.length == 0:
            return (
                f'estimated baseline is {pose.length:.3g} +- {pose.length_std:.2g}: '
                'not distinguishable from a pure rotation'
            )
        if isinstance(known, np.ndarray):
            cosine = known[:3, 3] @ pose.T_first_second[:3, 3] / (metres * pose.length)
            angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
            if angle > self._max_angle_deg:
                return (
                    f'estimated direction is {angle:.0f} deg from the known one; '
                    f'the maximum is {self._max_angle_deg:g} deg'
                )
        return ''


def _metres(known: NDArray[np.float64] | float) -> float:
    return float(np.linalg.norm(known[:3, 3]) if isinstance(known, np.ndarray) else abs(known))
