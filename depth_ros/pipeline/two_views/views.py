# SPDX-License-Identifier: Apache-2.0
"""Depth of two views in metres: a second camera, or an earlier frame of a moving one.

The network knows the scene up to one factor. `scaling.method` baseline measures the factor with a
known distance of the cameras; until then there is no depth but a `ScaleError` with the reason.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.errors import ConfigError, ScaleError
from depth_ros.core.geometry import undistort
from depth_ros.core.stamps import went_back
from depth_ros.core.types import DepthMap, Frame, Pose, Prediction
from depth_ros.models import TakesPairs
from depth_ros.parameters.settings import TwoViewSettings
from depth_ros.pipeline.depth_pipeline import Pipeline, Snapshot
from depth_ros.pipeline.two_views.baseline import BaselineScale
from depth_ros.pipeline.two_views.keyframes import Keyframes
from depth_ros.pipeline.two_views.poses import Pose4x4

#: the parallax a second view has at best, if the limits allow it [deg]
WANTED_PARALLAX_DEG = 7.0


class TwoViews:
    """What a second camera and an earlier frame have in common: pairs, and their scale.

    Args:
        pipeline: of a model that takes pairs.
        settings: `two_views` of the pipeline's settings.

    Raises:
        ConfigError: the model takes one view only.
    """

    def __init__(self, pipeline: Pipeline, settings: TwoViewSettings) -> None:
        """No scale yet."""
        if not isinstance(pipeline.model, TakesPairs):
            raise ConfigError(f'{type(pipeline.model).__name__} takes one view: no two_views')
        self.pipeline = pipeline
        self.model: TakesPairs = pipeline.model
        self.scale = BaselineScale(
            min_baseline_m=settings.min_baseline, min_inliers=settings.min_inliers
        )
        self.views = ''  #: what the latest depth was made of, in words

    def report(self) -> dict[str, Any]:
        """What is known of the scale, for people."""
        scale = self.scale
        known = f'{scale.scale:.4g}' if scale.scale is not None else 'not known yet'
        spread = f'{100 * scale.spread:.1f}' if math.isfinite(scale.spread) else ''
        return {
            'views': self.views,
            'baseline scale [m a unit]': known,
            'baseline scale spread [%]': spread,
            'pairs taken for scale': scale.taken,
            'latest pair refused for scale': scale.refused,
        }

    def _factor(self, snapshot: Snapshot) -> float | None:
        """Metres a unit; None where the method needs none.

        Raises:
            ScaleError: it is not known yet.
        """
        if snapshot.scaling.method != 'baseline':
            return None
        if self.scale.scale is None:
            why = self.scale.refused or 'no pair of views yet'
            raise ScaleError(f'no depth is published before its scale is known: {why}')
        return self.scale.scale

    def _pair(
        self,
        first: Frame,
        second: Frame,
        known: NDArray[Any] | float,
        seen: Tensor | None,
        snapshot: Snapshot,
    ) -> DepthMap:
        """Depth of `first`, both undistorted; the scale takes the pair into account."""
        pair = self.model.predict_pair(first, second)
        self.scale.update(pair.pose, known)
        factor = self._factor(snapshot)
        kind = self.pipeline.model.kind
        prediction = Prediction(pair.z, kind, confidence=pair.confidence)
        depth = self.pipeline.depth_map(prediction, first, snapshot, seen, factor)
        depth.ensure_finite()
        # a pair that was not believed has no pose to tell either
        believed = None if self.scale.refused else pair.pose
        pose = self._metric(believed, factor, snapshot) if believed else None
        return replace(depth, pose=pose)

    def _metric(self, pose: Pose, factor: float | None, snapshot: Snapshot) -> Pose:
        if factor is None:  # the user's own
            return pose.scaled(snapshot.settings.scaling.scale)
        return pose.scaled(factor, self.scale.spread)


class SecondCamera(TwoViews):
    """Two cameras at once, their distance known."""

    @torch.inference_mode()
    def __call__(
        self, first: Frame, second: Frame, known: Pose4x4 | float, snapshot: Snapshot
    ) -> DepthMap:
        """Depth of `first`.

        Args:
            first: as it came.
            second: taken at the same time.
            known: T_first_second (4, 4) [m], or only the distance of the cameras [m].
            snapshot: the settings of this frame.

        Raises:
            ScaleError: no pair has told the scale yet.
            InferenceError: the network's answer is no depth map.
        """
        first, seen = undistort(first)
        second, _ = undistort(second)
        self.views = 'two cameras'
        return self._pair(first, second, known, seen, snapshot)


class EarlierFrame(TwoViews):
    """One camera that moves, its way known; alone where no earlier frame makes a second view.

    Of one view the network may choose another unit than of two. The scale of the pairs is taken
    for it all the same, for want of a better.
    """

    def __init__(self, pipeline: Pipeline, settings: TwoViewSettings) -> None:
        """No earlier frame yet."""
        super().__init__(pipeline, settings)
        low, high = settings.min_parallax, settings.max_parallax
        self.keyframes = Keyframes(
            min_parallax_deg=low,
            max_parallax_deg=high,
            wanted_parallax_deg=min(max(WANTED_PARALLAX_DEG, low), high),
        )
        self._limits = f'{low:g} to {high:g} deg'
        self._depth_m: float | None = None  # the scene's, by the latest depth map
        self._newest_ns = 0

    @torch.inference_mode()
    def __call__(
        self, frame: Frame, T_odom_camera: Pose4x4 | None, snapshot: Snapshot, why: str = ''
    ) -> DepthMap:
        """Depth of `frame`.

        Args:
            frame: as it came.
            T_odom_camera: (4, 4) pose of its optical frame [m]; None where nobody knows it.
            snapshot: the settings of this frame.
            why: the pose is not known.

        Raises:
            ScaleError: no pair has told the scale yet.
            InferenceError: the network's answer is no depth map.
        """
        frame, seen = undistort(frame)
        if went_back(frame.stamp_ns, self._newest_ns):  # another run of a bag: another scene
            self.keyframes.clear()
            self.scale.reset()
            self._newest_ns = 0
        self._newest_ns = max(self._newest_ns, frame.stamp_ns)
        match = None
        if T_odom_camera is not None:
            match = self.keyframes.best(frame, T_odom_camera, self._depth_m)
            self.keyframes.add(frame, T_odom_camera)
            why = (
                f'no earlier frame sees the scene with {self._limits} of parallax; '
                'the camera has to move'
            )
        if match is None:
            depth = self._alone(frame, seen, why, snapshot)
        else:
            self.views = f'two, {match.parallax_deg:.1f} deg of parallax'
            depth = self._pair(frame, match.keyframe.frame, match.T_first_second, seen, snapshot)
        some = depth.z[::8, ::8]
        some = some[torch.isfinite(some)]
        if len(some) and self.scale.scale is not None:
            self._depth_m = float(some.median())
        return depth

    def _alone(self, frame: Frame, seen: Tensor | None, why: str, snapshot: Snapshot) -> DepthMap:
        self.views = f'one: {why}'
        if self.scale.scale is None:
            self.scale.refused = why
        factor = self._factor(snapshot)
        prediction = self.pipeline.model.predict(frame)
        return self.pipeline.depth_map(prediction, frame, snapshot, seen, factor)
