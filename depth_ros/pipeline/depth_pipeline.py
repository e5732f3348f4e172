# SPDX-License-Identifier: Apache-2.0
"""One frame's way: undistort -> network -> metres -> range. Everything stays on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from depth_ros.core.errors import DepthRosError, InferenceError, ScaleError
from depth_ros.core.geometry import undistort
from depth_ros.core.types import DepthMap, Frame, Prediction
from depth_ros.models import DepthModel, TakesBatches
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.scaling import Scaling

T = TypeVar('T')


class Pipeline:
    """A network and what makes its answer a depth image.

    Raises:
        ConfigError: the scaling method does not fit the network; raised here, not per frame.
    """

    def __init__(
        self, model: DepthModel, settings: Settings, device: torch.device | None = None
    ) -> None:
        """Check that model and settings fit; `device` is where frames must be, CPU if absent."""
        self.model = model
        self.device = device or torch.device('cpu')
        self.update(settings)

    def update(self, settings: Settings) -> None:
        """Take settings that changed while running.

        Raises:
            ConfigError: they do not fit the network; the old ones stay.
        """
        two_views = settings.two_views.mode != 'off'
        self.scaling = Scaling(settings.scaling, self.model.kind, two_views=two_views)
        self.settings = settings

    def __call__(self, frame: Frame) -> DepthMap:
        """Depth of a frame.

        Returns:
            (H, W) metres for the undistorted camera: NaN invalid, +Inf sky or beyond range.max,
            -Inf nearer than range.min (REP 117); never 0.

        Raises:
            InferenceError: the network's answer is not of the frame's size or has no number in it.
            ScaleError: the metres are to come from two views (`pipeline.two_views`).
        """
        (depth,) = self.many([frame])
        if isinstance(depth, DepthRosError):
            raise depth
        depth.ensure_finite()
        return depth

    @torch.inference_mode()
    def many(self, frames: list[Frame]) -> list[DepthMap | DepthRosError]:
        """Depth of frames of several cameras, in one run of the network where it takes batches.

        Returns:
            For each frame what a call with it alone would return or raise: what is wrong with one
            camera is no reason to lose the others. Only `DepthMap.ensure_finite` is still to be
            called: on a GPU the network may be at work yet.

        Raises:
            ScaleError: as a call would.
        """
        if self.scaling.method == 'baseline':
            raise ScaleError("scaling.method 'baseline' takes two views; this is one")
        pinholes = [undistort(frame) for frame in frames]
        plain = [frame for frame, _ in pinholes]
        predictions: Sequence[Prediction | DepthRosError]
        if isinstance(self.model, TakesBatches):
            predictions = self.model.predict_many(plain)
        else:
            predictions = [_tried(self.model.predict, frame) for frame in plain]
        return [
            p if isinstance(p, DepthRosError) else _tried(self.depth_map, p, frame, seen)
            for p, (frame, seen) in zip(predictions, pinholes, strict=True)
        ]

    def depth_map(
        self,
        prediction: Prediction,
        frame: Frame,
        seen: Tensor | None = None,
        factor: float | None = None,
    ) -> DepthMap:
        """Metres and what is no depth, of a prediction.

        Args:
            prediction: of `frame`.
            frame: undistorted.
            seen: (H, W) bool, where the lens saw something; None for everywhere.
            factor: [m] a unit, where one was measured.

        Raises:
            InferenceError: the prediction is not of the frame's size.
        """
        answered = _check(prediction, frame)
        z = self.scaling(prediction, frame.camera)
        if factor is not None:
            z = z * factor
        z = _limited(z, self.settings.range.min, self.settings.range.max or torch.inf)
        inf, nan = torch.inf, torch.nan
        if prediction.sky is not None:
            z = torch.where(prediction.sky, inf, z)
        if self.settings.min_confidence > 0 and prediction.confidence is not None:
            z = torch.where(prediction.confidence < self.settings.min_confidence, nan, z)
        if seen is not None:
            z = torch.where(seen, z, nan)
        return DepthMap(z, frame.camera, frame.rgb, prediction.confidence, has_finite=answered)


def _tried(action: Callable[..., T], *args: Any) -> T | DepthRosError:
    try:
        return action(*args)
    except DepthRosError as error:
        return error


def _limited(z: Tensor, near: float, far: float) -> Tensor:
    """-Inf nearer than `near`, +Inf beyond `far`, NaN for zero and less (REP 117, 118)."""
    how = _limited_by_numpy if z.device.type == 'cpu' else _limited_by_torch
    return how(z, near, far)


def _limited_by_torch(z: Tensor, near: float, far: float) -> Tensor:
    z = torch.where(z > 0, z, torch.nan)
    z = torch.where(z < near, -torch.inf, z)
    return z if far == torch.inf else torch.where(z > far, torch.inf, z)


def _limited_by_numpy(z: Tensor, near: float, far: float) -> Tensor:
    """A fifth of torch's time on one core, and nothing but a look where all is in range."""
    values = z.numpy()
    lowest, highest = np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)
    if lowest > 0 and near <= lowest and highest <= far:  # whatever is NaN
        return z
    limited = values.copy()
    np.copyto(limited, np.nan, where=~(values > 0))
    np.copyto(limited, -np.inf, where=limited < near)
    np.copyto(limited, np.inf, where=limited > far)
    return torch.from_numpy(limited)


def _check(prediction: Prediction, frame: Frame) -> Tensor:
    """() bool, whether there is a number in it.

    Raises:
        InferenceError: the shape is wrong.
    """
    if tuple(prediction.values.shape) != frame.camera.size:
        raise InferenceError(
            f'the network answered {tuple(prediction.values.shape)} for a frame of '
            f'{frame.camera.size}: it is not a depth map of this picture'
        )
    values = prediction.values
    # in a tenth of torch's time; a GPU would have to be waited for
    if values.device.type == 'cpu' and np.isfinite(values.numpy()).any():
        return torch.tensor(True)
    known = torch.isfinite(values)
    if prediction.sky is not None:
        known = known | prediction.sky  # a picture of nothing but sky is an answer
    return known.any()
