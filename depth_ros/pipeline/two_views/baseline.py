# SPDX-License-Identifier: Apache-2.0
"""Method `baseline`: metric scale from known distances of the cameras of two views or more.

scale = |t known| / |t estimated|, and for more than two views the factor between both sets of
camera positions. The known distances come from a stereo calibration or odometry. A network may
choose another unit for each pair; `spread` measures how much it varies.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.rotations import turn_deg
from depth_ros.core.types import Kind, Pose, Prediction
from depth_ros.pipeline.two_views.alignment import position_scale

#: the scale is applied by `depth_ros.pipeline.two_views.views`
ACCEPTS = frozenset({Kind.SCALE_INVARIANT})

log = logging.getLogger(__name__)


def to_metres(prediction: Prediction, camera: Camera) -> Tensor:
    """The prediction, (H, W) float32, still to be multiplied by `BaselineScale.scale`."""
    return prediction.values


class BaselineScale:
    """Estimates the metric scale of `MultiView`s, smoothed over them as a mean of logarithms.

    A pair is the first view with one of the others.

    Args:
        min_baseline_m: minimum distance between the cameras [m].
        min_inliers: minimum fraction of pixels that agree with the pose, 0..1.
        max_error: maximum relative standard deviation of the estimated distance; above it the
            motion cannot be distinguished from a pure rotation.
        max_angle_deg: maximum angle between the estimated and the known direction of the other
            camera [deg], if it is known.
        max_rotation_deg: maximum angle of the rotation between its estimated and known axes [deg].
        memory: number of runs over which the scale is averaged; 1 disables smoothing.

    Attributes:
        scale: metres per unit of the network; None before the first accepted run.
        spread: relative standard deviation of the scale of a run (0.05 is 5 %); before the second
            run, and without smoothing, computed from the covariance of the poses.
        measured: scale of the latest accepted run alone; None before the first.
        accepted: number of runs of which at least one pair was used.
        refused: reason why no pair of the latest run was used, with values; '' if one was.
        used: whether each pair of the latest run was used.
    """

    def __init__(
        self,
        *,
        min_baseline_m: float = 0.05,
        min_inliers: float = 0.5,
        max_error: float = 0.2,
        max_angle_deg: float = 30.0,
        max_rotation_deg: float = 10.0,
        memory: int = 10,
    ) -> None:
        self._min_baseline_m, self._min_inliers = min_baseline_m, min_inliers
        self._max_error, self._max_angle_deg = max_error, max_angle_deg
        self._max_rotation_deg = max_rotation_deg
        self._memory = max(1, memory)
        self.reset()

    def reset(self) -> None:
        """Start again without a scale, for another scene or after time went back."""
        self.scale: float | None = None
        self.spread = math.nan
        self.measured: float | None = None
        self.accepted = 0
        self.refused = ''
        self.used: list[bool] = []
        self._variance = 0.0

    def update(
        self, poses: Sequence[Pose | None], known: Sequence[NDArray[np.float64] | float]
    ) -> float | None:
        """Update the scale with the pairs of a run, or refuse them.

        Args:
            poses: estimated poses of the other cameras; None where none was found.
            known: true T_first_other of each, (4, 4) with translation [m], or, of two views, only
                the distance between the cameras [m].

        Returns:
            `scale`, which refused pairs do not change.
        """
        pairs = list(zip(poses, known, strict=True))
        reasons = [self._reason_to_refuse(pose, metres) for pose, metres in pairs]
        self.used = [not reason for reason in reasons]
        self.refused = '' if any(self.used) else reasons[0]
        for reason in filter(None, reasons):
            log.debug('pair not used for the scale: %s', reason)
        if self.refused:
            return self.scale
        usable = [(p, k) for (p, k), used in zip(pairs, self.used, strict=True) if p and used]
        self.measured = _scale_of(usable)
        variance = float(np.mean([(pose.length_std / pose.length) ** 2 for pose, _ in usable]))
        self.accepted += 1
        if self.scale is None or self._memory == 1:
            self.scale, self._variance = self.measured, variance
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
            turned = turn_deg(known, pose.T_first_second)
            if turned > self._max_rotation_deg:
                return (
                    f'estimated axes are turned by {turned:.0f} deg from the known ones; '
                    f'the maximum is {self._max_rotation_deg:g} deg'
                )
        return ''


def _scale_of(pairs: Sequence[tuple[Pose, NDArray[np.float64] | float]]) -> float:
    """Metres per unit of the network."""
    if len(pairs) == 1:
        pose, known = pairs[0]
        return _metres(known) / pose.length
    origin = np.zeros(3)  # of the first camera
    estimated = np.stack([origin, *(pose.T_first_second[:3, 3] for pose, _ in pairs)])
    metres = np.stack([origin, *(k[:3, 3] for _, k in pairs if isinstance(k, np.ndarray))])
    return 1 / position_scale(estimated, metres)


def _metres(known: NDArray[np.float64] | float) -> float:
    return float(np.linalg.norm(known[:3, 3]) if isinstance(known, np.ndarray) else abs(known))
