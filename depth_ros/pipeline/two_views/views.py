# SPDX-License-Identifier: Apache-2.0
"""Metric depth from several views: a second camera, or earlier frames of a moving camera.

The output of the network is correct up to one scale factor. `scaling.method` baseline measures it
with a known distance between the cameras; until then `ScaleError` is raised with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depth_ros.core.errors import ConfigError, ScaleError
from depth_ros.core.geometry import undistort
from depth_ros.core.lens import pinhole
from depth_ros.core.stamps import went_back
from depth_ros.core.types import DepthMap, Frame, Pose, Prediction
from depth_ros.models import TakesViews
from depth_ros.parameters.settings import TwoViewSettings
from depth_ros.pipeline.depth_pipeline import Pipeline, Snapshot
from depth_ros.pipeline.filters import Filters
from depth_ros.pipeline.two_views.baseline import BaselineScale
from depth_ros.pipeline.two_views.keyframes import Keyframes, Match
from depth_ros.pipeline.two_views.poses import Pose4x4

#: preferred parallax of a second view, within the limits of the settings [deg]
WANTED_PARALLAX_DEG = 7.0
#: earlier frames that are stored at least, and for each further view
STORED, STORED_PER_VIEW = 10, 3


class TwoViews:
    """Base of `SecondCamera` and `EarlierFrame`: predicts from views and measures their scale.

    Args:
        pipeline: of a model that `TakesViews`.
        settings: parameters `two_views.*`.

    Raises:
        ConfigError: the model takes one view only.

    Attributes:
        views: description of the views of the latest depth map, for diagnostics.
    """

    def __init__(self, pipeline: Pipeline, settings: TwoViewSettings) -> None:
        if not isinstance(pipeline.model, TakesViews):
            raise ConfigError(
                f'{type(pipeline.model).__name__} takes one view only: set two_views.mode to off'
            )
        self.pipeline = pipeline
        self.model: TakesViews = pipeline.model
        self.filters = Filters()
        self.scale = BaselineScale(
            min_baseline_m=settings.min_baseline,
            min_inliers=settings.min_inliers,
            max_angle_deg=settings.max_direction_error,
            max_rotation_deg=settings.max_rotation_error,
            memory=self.model.scale_memory,
        )
        self.views = ''

    def report(self) -> dict[str, Any]:
        """State of the scale as key and value, for diagnostics."""
        scale = self.scale
        known = f'{scale.scale:.4g}' if scale.scale is not None else 'not known yet'
        spread = f'{100 * scale.spread:.1f}' if math.isfinite(scale.spread) else ''
        return {
            'views': self.views,
            'baseline scale [m per unit]': known,
            'baseline scale spread [%]': spread,
            'pairs accepted for scale': scale.accepted,
            'latest pair refused for scale': scale.refused,
        }

    def _factor(self, snapshot: Snapshot) -> float | None:
        """Metres per unit of the network; None if the method is not 'baseline'.

        Raises:
            ScaleError: the scale is not known yet.
        """
        if snapshot.scaling.method != 'baseline':
            return None
        if self.scale.scale is None:
            reason = self.scale.refused or 'no pair of views yet'
            raise ScaleError(f'no depth is published before its scale is known: {reason}')
        return self.scale.scale

    def _together(
        self,
        frames: list[Frame],
        known: Sequence[Pose4x4] | float,
        valid: Tensor | None,
        snapshot: Snapshot,
    ) -> DepthMap:
        """Update the scale with the views, all undistorted, and return depth of the first."""
        poses = None if isinstance(known, float) else known
        found = self.model.predict_views(frames, poses)
        self.scale.update(found.poses, [known] if isinstance(known, float) else known)
        factor = self._factor(snapshot)
        kind = self.pipeline.model.kind
        prediction = Prediction(found.z, kind, confidence=found.confidence)
        first = frames[0]
        depth = self.pipeline.depth_map(prediction, first, snapshot, valid, factor, self.filters)
        depth.ensure_finite()
        # the pose of a refused pair is not published either
        accepted = found.poses[0] if self.scale.used[0] else None
        pose = self._metric(accepted, factor, snapshot) if accepted else None
        return replace(depth, pose=pose)

    def _metric(self, pose: Pose, factor: float | None, snapshot: Snapshot) -> Pose:
        if factor is None:  # the scale is set by the user
            return pose.scaled(snapshot.settings.scaling.scale)
        return pose.scaled(factor, self.scale.spread)


class SecondCamera(TwoViews):
    """Depth from two calibrated cameras with a known distance."""

    @torch.inference_mode()
    def __call__(
        self, first: Frame, second: Frame, known: Pose4x4 | float, snapshot: Snapshot
    ) -> DepthMap:
        """Depth of the frame `first`.

        Args:
            first: frame of the first camera, may be distorted.
            second: frame of the second camera, taken at the same time.
            known: T_first_second (4, 4) [m], or only the distance between the cameras [m].
            snapshot: settings of this frame.

        Returns:
            Depth for the undistorted first camera, with the pose of the second one.

        Raises:
            ScaleError: no pair has defined the scale yet.
            InferenceError: the output of the network is no depth map.
        """
        zoom = snapshot.settings.undistort.zoom
        first, valid = undistort(first, pinhole(first.camera, zoom))
        second, _ = undistort(second, pinhole(second.camera, zoom))
        self.views = 'two cameras'
        poses = [known] if isinstance(known, np.ndarray) else float(known)
        return self._together([first, second], poses, valid, snapshot)


class EarlierFrame(TwoViews):
    """Depth from a moving camera with odometry; from one view if no earlier frame is suitable.

    With `two_views.views` above 2 several earlier frames are used, as far as there are some. With
    one view the network may choose another unit than with two; the latest scale is used
    nevertheless, as there is no better one.
    """

    def __init__(self, pipeline: Pipeline, settings: TwoViewSettings) -> None:
        super().__init__(pipeline, settings)
        low, high = settings.min_parallax, settings.max_parallax
        self._others = settings.views - 1
        self.keyframes = Keyframes(
            capacity=max(STORED, STORED_PER_VIEW * self._others),
            min_parallax_deg=low,
            max_parallax_deg=high,
            wanted_parallax_deg=min(max(WANTED_PARALLAX_DEG, low), high),
        )
        self._limits = f'{low:g} to {high:g} deg'
        self._depth_m: float | None = None  # median of the latest depth map
        self._newest_ns = 0

    @torch.inference_mode()
    def __call__(
        self, frame: Frame, T_odom_camera: Pose4x4 | None, snapshot: Snapshot, why: str = ''
    ) -> DepthMap:
        """Depth of a frame.

        Args:
            frame: may be distorted.
            T_odom_camera: (4, 4) pose of its optical frame [m]; None if it is not known.
            snapshot: settings of this frame.
            why: reason why the pose is not known.

        Returns:
            Depth for the undistorted camera; with the pose of the best earlier frame if one was
            used.

        Raises:
            ScaleError: no pair has defined the scale yet.
            InferenceError: the output of the network is no depth map.
        """
        frame, valid = undistort(frame, pinhole(frame.camera, snapshot.settings.undistort.zoom))
        if went_back(frame.stamp_ns, self._newest_ns):  # a bag was restarted: another scene
            self.keyframes.clear()
            self.scale.reset()
            self._newest_ns = 0
        self._newest_ns = max(self._newest_ns, frame.stamp_ns)
        matches: list[Match] = []
        if T_odom_camera is not None:
            matches = self.keyframes.best(frame, T_odom_camera, self._depth_m, self._others)
            self.keyframes.add(frame, T_odom_camera)
            why = (
                f'no earlier frame sees the scene with {self._limits} of parallax; '
                'the camera has to move'
            )
        if matches:
            parallax = ', '.join(f'{match.parallax_deg:.1f}' for match in matches)
            count = 'two' if len(matches) == 1 else str(1 + len(matches))
            self.views = f'{count}, {parallax} deg of parallax'
            frames = [frame, *(match.keyframe.frame for match in matches)]
            known = [match.T_first_second for match in matches]
            depth = self._together(frames, known, valid, snapshot)
        else:
            depth = self._single(frame, valid, why, snapshot)
        z = depth.z[::8, ::8]  # every eighth pixel is enough for a median
        z = z[torch.isfinite(z)]
        if len(z) and self.scale.scale is not None:
            self._depth_m = float(z.median())
        return depth

    def _single(
        self, frame: Frame, valid: Tensor | None, why: str, snapshot: Snapshot
    ) -> DepthMap:
        self.views = f'one: {why}'
        if self.scale.scale is None:
            self.scale.refused = why
        factor = self._factor(snapshot)
        prediction = self.pipeline.model.predict(frame)
        return self.pipeline.depth_map(prediction, frame, snapshot, valid, factor, self.filters)
