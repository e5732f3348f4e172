# SPDX-License-Identifier: Apache-2.0
"""Metres from two views whose distance is known: scale = |t known| / |t estimated|.

The distance comes from a rig's calibration or from odometry. A network of two views is free to
choose its unit anew for each pair; how steadily it chooses is what `spread` says.
"""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.types import Kind, Pose, Prediction

#: the factor of the day is applied by `depth_ros.pipeline.two_views.views`
ACCEPTS = frozenset({Kind.SCALE_INVARIANT})

log = logging.getLogger(__name__)


def to_metres(prediction: Prediction, camera: Camera) -> Tensor:
    """The prediction, (H, W), still to be multiplied by `BaselineScale.scale`."""
    return prediction.values


class BaselineScale:
    """The metres in a unit of a `Pair`, smoothed over pairs as a mean of logarithms.

    Args:
        min_baseline_m: cameras nearer to each other than this tell nothing [m].
        min_inliers: least share of pixels that agree with the pose, 0..1.
        max_error: largest standard deviation of the estimated distance, as a part of it; above
            it the camera has, for all one sees, only turned.
        max_angle_deg: how far the estimated direction of the second camera may be from the known
            one [deg], where it is known.
        memory: pairs the mean reaches back; 1 takes each pair at its word.

    Attributes:
        scale: [m] a unit; None before the first pair that was taken.
        spread: standard deviation of a pair's scale about the mean, as a part of it (0.05 is 5 %);
            before a second pair, what the pose's covariance makes of it.
        measured: the scale of the latest pair that was taken, alone.
        taken: how many pairs were.
        refused: why the latest was not, with values; '' if it was.
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
        """No scale yet."""
        self._min_baseline_m, self._min_inliers = min_baseline_m, min_inliers
        self._max_error, self._max_angle_deg = max_error, max_angle_deg
        self._memory = max(1, memory)
        self.reset()

    def reset(self) -> None:
        """Forget: another scene, or time went back."""
        self.scale: float | None = None
        self.spread = math.nan
        self.measured: float | None = None
        self.taken = 0
        self.refused = ''
        self._variance = 0.0

    def update(self, pose: Pose | None, known: NDArray[np.float64] | float) -> float | None:
        """Take a pair into account, or refuse it.

        Args:
            pose: of the second camera, in the pair's unit; None where none was found.
            known: the true T_first_second, (4, 4) with its translation in metres, or only the
                distance of the cameras [m].

        Returns:
            `scale`: of the pairs so far, with a refused one the previous.
        """
        self.refused = self._objection(pose, known)
        if self.refused:
            log.debug('pair not used for scale: %s', self.refused)
            return self.scale
        assert pose is not None  # _objection refuses it
        self.measured = _metres(known) / pose.length
        self.taken += 1
        if self.scale is None:
            self.scale, self._variance = self.measured, (pose.length_std / pose.length) ** 2
        else:
            share = 1 / min(self.taken, self._memory)  # a plain mean until the memory is full
            step = math.log(self.measured / self.scale)
            self.scale *= math.exp(share * step)
            self._variance = (1 - share) * (self._variance + share * step**2)
        self.spread = math.sqrt(self._variance)
        return self.scale

    def _objection(self, pose: Pose | None, known: NDArray[np.float64] | float) -> str:
        metres = _metres(known)
        if not metres >= self._min_baseline_m:  # NaN is none either
            return f'known baseline is {metres:.3g} m; the least is {self._min_baseline_m:g}'
        if pose is None:
            return 'no pose: the two pictures show too little in common'
        if pose.inliers < self._min_inliers:
            return f'{pose.inliers:.0%} inliers; the least is {self._min_inliers:.0%}'
        if not pose.length_std <= self._max_error * pose.length or pose.length == 0:
            return (
                f'estimated baseline is {pose.length:.3g} +- {pose.length_std:.2g}: '
                'no more than a rotation for all one sees'
            )
        if isinstance(known, np.ndarray):
            cosine = known[:3, 3] @ pose.T_first_second[:3, 3] / (metres * pose.length)
            angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
            if angle > self._max_angle_deg:
                return (
                    f'estimated direction is {angle:.0f} deg from the known one; '
                    f'the most is {self._max_angle_deg:g}'
                )
        return ''


def _metres(known: NDArray[np.float64] | float) -> float:
    return float(np.linalg.norm(known[:3, 3]) if isinstance(known, np.ndarray) else abs(known))
