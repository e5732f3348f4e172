# SPDX-License-Identifier: Apache-2.0
"""One frame's way: undistort -> network -> metres -> range. Everything stays on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The settings in force for one frame, from its decoding to its messages.

    Args:
        settings: all parameters.
        scaling: made of them for the network.
    """

    settings: Settings
    scaling: Scaling


class Pipeline:
    """A network, and what turns its prediction into a depth map.

    Args:
        model: the loaded network.
        settings: initial parameters; `update` replaces them.
        device: where frames must be; the CPU if absent.

    Attributes:
        snapshot: the settings in force. It is replaced as a whole: whoever processes a frame reads
            it once and passes it on.

    Raises:
        ConfigError: the scaling method does not fit the network; raised here, not per frame.
    """

    def __init__(
        self, model: DepthModel, settings: Settings, device: torch.device | None = None
    ) -> None:
        self.model = model
        self.device = device or torch.device('cpu')
        self.update(settings)

    def update(self, settings: Settings) -> None:
        """Use other settings from the next frame on.

        Raises:
            ConfigError: they do not fit the network; the old ones stay.
        """
        two_views = settings.two_views.mode != 'off'
        scaling = Scaling(settings.scaling, self.model.kind, two_views=two_views)
        self.snapshot = Snapshot(settings, scaling)

    def __call__(self, frame: Frame) -> DepthMap:
        """Depth of a frame.

        Returns:
            (H, W) metres for the undistorted camera: NaN invalid, +Inf sky or beyond range.max,
            -Inf closer than range.min (REP 117); never 0.

        Raises:
            InferenceError: the prediction is not of the frame's size, or holds no number.
            ScaleError: the scale comes from two views (`pipeline.two_views`).
        """
        (depth,) = self.many([frame], self.snapshot)
        if isinstance(depth, DepthRosError):
            raise depth
        depth.ensure_finite()
        return depth

    @torch.inference_mode()
    def many(self, frames: list[Frame], snapshot: Snapshot) -> list[DepthMap | DepthRosError]:
        """Depth of frames of several cameras, in one run of the network where it takes batches.

        Args:
            frames: of any cameras and sizes, on the device.
            snapshot: the settings for all of them.

        Returns:
            For each frame what a call with it alone would return or raise, so that the fault of
            one camera costs the others nothing. Only `DepthMap.ensure_finite` is still to be
            called: a GPU may not have finished.

        Raises:
            ScaleError: as a call would.
        """
        if snapshot.scaling.method == 'baseline':
            raise ScaleError("scaling.method 'baseline' takes two views; this is one")
        pinholes = [undistort(frame) for frame in frames]
        undistorted = [frame for frame, _ in pinholes]
        predictions: Sequence[Prediction | DepthRosError]
        if isinstance(self.model, TakesBatches):
            predictions = self.model.predict_many(undistorted)
        else:
            predictions = [_tried(self.model.predict, frame) for frame in undistorted]
        return [
            p if isinstance(p, DepthRosError) else _tried(self.depth_map, p, frame, snapshot, seen)
            for p, (frame, seen) in zip(predictions, pinholes, strict=True)
        ]

    def depth_map(
        self,
        prediction: Prediction,
        frame: Frame,
        snapshot: Snapshot,
        seen: Tensor | None = None,
        factor: float | None = None,
    ) -> DepthMap:
        """A prediction in metres; invalid and out-of-range pixels marked.

        Args:
            prediction: of `frame`.
            frame: undistorted.
            snapshot: the settings of this frame.
            seen: (H, W) bool, False outside the lens's field of view; None for everywhere True.
            factor: [m] per unit of the prediction, where one was measured.

        Raises:
            InferenceError: the prediction is not of the frame's size.
        """
        settings = snapshot.settings
        has_finite = _check(prediction, frame)
        z = snapshot.scaling(prediction, frame.camera)
        if factor is not None:
            z = z * factor
        z = _limited(z, settings.range.min, settings.range.max or torch.inf)
        inf, nan = torch.inf, torch.nan
        if prediction.sky is not None:
            z = torch.where(prediction.sky, inf, z)
        if settings.min_confidence > 0 and prediction.confidence is not None:
            z = torch.where(prediction.confidence < settings.min_confidence, nan, z)
        if seen is not None:
            z = torch.where(seen, z, nan)
        return DepthMap(z, frame.camera, frame.rgb, prediction.confidence, has_finite=has_finite)


def _tried(action: Callable[..., T], *args: Any) -> T | DepthRosError:
    try:
        return action(*args)
    except DepthRosError as error:
        return error


def _limited(z: Tensor, near: float, far: float) -> Tensor:
    """-Inf closer than `near`, +Inf beyond `far`, NaN for zero and less (REP 117, 118)."""
    how = _limited_by_numpy if z.device.type == 'cpu' else _limited_by_torch
    return how(z, near, far)


def _limited_by_torch(z: Tensor, near: float, far: float) -> Tensor:
    z = torch.where(z > 0, z, torch.nan)
    z = torch.where(z < near, -torch.inf, z)
    return z if far == torch.inf else torch.where(z > far, torch.inf, z)


def _limited_by_numpy(z: Tensor, near: float, far: float) -> Tensor:
    """As `_limited_by_torch`, in a fifth of its time; without a copy if all is in range."""
    values = z.numpy()
    lowest, highest = np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)
    if lowest > 0 and near <= lowest and highest <= far:  # comparisons skip NaN
        return z
    limited = values.copy()
    np.copyto(limited, np.nan, where=~(values > 0))
    np.copyto(limited, -np.inf, where=limited < near)
    np.copyto(limited, np.inf, where=limited > far)
    return torch.from_numpy(limited)


def _check(prediction: Prediction, frame: Frame) -> Tensor:
    """() bool, whether the prediction holds any number.

    Raises:
        InferenceError: it is not of the frame's size.
    """
    if tuple(prediction.values.shape) != frame.camera.size:
        raise InferenceError(
            f'the network returned {tuple(prediction.values.shape)} for a frame of '
            f'{frame.camera.size}: it is not a depth map of this image'
        )
    values = prediction.values
    # numpy takes a tenth of torch's time; on a GPU this would wait for the network
    if values.device.type == 'cpu' and np.isfinite(values.numpy()).any():
        return torch.tensor(True)
    known = torch.isfinite(values)
    if prediction.sky is not None:
        known = known | prediction.sky  # an image of sky alone is valid
    return known.any()
