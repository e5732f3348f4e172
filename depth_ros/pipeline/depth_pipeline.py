# SPDX-License-Identifier: Apache-2.0
"""One frame's way: undistort -> network -> metres -> filters, all of it on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from depth_ros.core.errors import ConfigError, DepthRosError, InferenceError, ScaleError
from depth_ros.core.geometry import undistort
from depth_ros.core.lens import pinhole
from depth_ros.core.types import Anchors, DepthMap, Frame, Prediction
from depth_ros.models import DepthModel, TakesBatches
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.filters import Filters
from depth_ros.pipeline.floor import check_floor, given_floor
from depth_ros.pipeline.scaling import Scaling
from depth_ros.pipeline.scaling.anchored import AnchoredScale
from depth_ros.pipeline.wide import WIDE, WideView, check_wide

T = TypeVar('T')
_SOME = 16  #: step of the pixels of which usually one has a finite value


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
        filters: of the camera whose frames the pipeline is called with.

    Raises:
        ConfigError: the scaling method does not fit the network; raised here, not per frame.
    """

    def __init__(
        self, model: DepthModel, settings: Settings, device: torch.device | None = None
    ) -> None:
        self.model = model
        self.device = device or torch.device('cpu')
        self.filters = Filters()
        self.update(settings)

    def update(self, settings: Settings) -> None:
        """Use other settings from the next frame on.

        Raises:
            ConfigError: they do not fit the network; the old ones stay.
        """
        check_wide(settings, self.model.kind)
        scaling = Scaling(
            settings.scaling,
            self.model.kind,
            two_views=settings.two_views.mode != 'off',
            anchors=any(settings.anchors.sources),
        )
        self.snapshot = Snapshot(settings, scaling)

    def __call__(
        self, frame: Frame, anchors: Anchors | None = None, scale: AnchoredScale | None = None
    ) -> DepthMap:
        """Depth of a frame.

        Args:
            frame: on the device.
            anchors: with `scaling.method` 'anchors': pixels of known depth in the undistorted
                image. They scale this frame alone.
            scale: instead, for the frames of one camera in their order: where their anchors come
                from, and the scale that is tracked from frame to frame.

        Returns:
            (H, W) metres for the undistorted camera: NaN invalid, +Inf sky or beyond range.max,
            -Inf closer than range.min (REP 117); never 0.

        Raises:
            InferenceError: the prediction is not of the frame's size, or holds no number.
            ScaleError: the scale comes from two views (`pipeline.two_views`), or these anchors
                give none.
            ConfigError: anchors are given, but `scaling.method` does not use them; or the floor is
                to be dropped from clouds, but neither frame nor parameters have it.
        """
        snapshot = self.snapshot
        if frame.floor is None:
            check_floor(snapshot.settings)
        if anchors is not None:
            scale = AnchoredScale(lambda frame, prediction: {'': anchors})
        if scale is not None and snapshot.scaling.method != 'anchors':
            raise ConfigError(
                f'anchors are given, but scaling.method is {snapshot.scaling.method!r}: set it to '
                "'anchors'"
            )
        (depth,) = self.many([frame], snapshot, [self.filters], [scale])
        if isinstance(depth, DepthRosError):
            raise depth
        depth.ensure_finite()
        return depth

    @torch.inference_mode()
    def many(
        self,
        frames: list[Frame],
        snapshot: Snapshot,
        filters: Sequence[Filters | None] | None = None,
        scales: Sequence[AnchoredScale | None] | None = None,
    ) -> list[DepthMap | DepthRosError]:
        """Depth of frames of several cameras, in one run of the network where it takes batches.

        Args:
            frames: of any cameras and sizes, on the device.
            snapshot: the settings for all of them.
            filters: those of each camera, with what they remember; None for frames on their own.
            scales: those of each camera, for `scaling.method` 'anchors'.

        Returns:
            For each frame what a call with it alone would return or raise, so that the fault of
            one camera costs the others nothing. Only `DepthMap.ensure_finite` is still to be
            called: a GPU may not have finished.

        Raises:
            ScaleError: as a call would.
        """
        if snapshot.scaling.method == 'baseline':
            raise ScaleError("scaling.method 'baseline' takes two views; this is one")
        if snapshot.settings.undistort.projection == WIDE:
            return self._wide(frames, snapshot, filters or [None] * len(frames))
        zoom = snapshot.settings.undistort.zoom
        pinholes = [_tried(_undistorted, frame, zoom) for frame in frames]
        good = [one for one in pinholes if not isinstance(one, DepthRosError)]
        predictions = iter(self._predicted([frame for frame, _ in good]))
        nothing = [None] * len(frames)
        owned = zip(filters or nothing, scales or nothing, strict=True)
        found: list[DepthMap | DepthRosError] = []
        for one, its in zip(pinholes, owned, strict=True):
            if isinstance(one, DepthRosError):
                found.append(one)
                continue
            (frame, seen), prediction = one, next(predictions)
            if isinstance(prediction, DepthRosError):
                found.append(prediction)
            else:
                found.append(_tried(self._scaled, prediction, frame, snapshot, seen, *its))
        return found

    def _predicted(self, pinholes: list[Frame]) -> Sequence[Prediction | DepthRosError]:
        if isinstance(self.model, TakesBatches):
            return self.model.predict_many(pinholes)
        return [_tried(self.model.predict, frame) for frame in pinholes]

    def _wide(
        self, frames: list[Frame], snapshot: Snapshot, filters: Sequence[Filters | None]
    ) -> list[DepthMap | DepthRosError]:
        """As `many`, for all that the lenses see: the tiles of all frames are one batch."""
        settings = snapshot.settings
        views = [_tried(WideView.of, frame, settings.undistort) for frame in frames]
        tiles = [view.tiles if isinstance(view, WideView) else [] for view in views]
        predictions = self._predicted([tile for one in tiles for tile in one])
        found: list[DepthMap | DepthRosError] = []
        for view, one, its in zip(views, tiles, filters, strict=True):
            own, predictions = predictions[: len(one)], predictions[len(one) :]
            good = [p for p in own if isinstance(p, Prediction)]
            if isinstance(view, DepthRosError):
                found.append(view)
            elif len(good) < len(own):
                found.append(next(p for p in own if isinstance(p, DepthRosError)))
            else:
                found.append(_tried(view.depth_map, good, snapshot.scaling, settings, its))
        return found

    def _scaled(
        self,
        prediction: Prediction,
        frame: Frame,
        snapshot: Snapshot,
        seen: Tensor | None,
        filters: Filters | None,
        scale: AnchoredScale | None,
    ) -> DepthMap:
        if snapshot.scaling.method != 'anchors':
            scale = None
        elif scale is None:
            raise ScaleError("scaling.method is 'anchors', but there are none for this image")
        return self.depth_map(prediction, frame, snapshot, seen, filters=filters, scale=scale)

    def depth_map(
        self,
        prediction: Prediction,
        frame: Frame,
        snapshot: Snapshot,
        seen: Tensor | None = None,
        factor: float | None = None,
        filters: Filters | None = None,
        scale: AnchoredScale | None = None,
    ) -> DepthMap:
        """A prediction in metres, filtered.

        Args:
            prediction: of `frame`.
            frame: undistorted.
            snapshot: the settings of this frame.
            seen: (H, W) bool, False outside the lens's field of view; None for everywhere True.
            factor: [m] per unit of the prediction, where one was measured.
            filters: of the camera, with what they remember; None for a frame on its own.
            scale: of the camera, by anchors; None leaves their correction out.

        Raises:
            InferenceError: the prediction is not of the frame's size.
            ScaleError: anchors have not given a scale.
        """
        has_finite = _check(prediction, frame)
        z = snapshot.scaling(prediction, frame.camera)
        if factor is not None:
            z = z * factor
        if scale is not None:
            z = scale(z, prediction, frame, snapshot.settings.scaling)
        z, free_z = (filters or Filters())(z, prediction, frame, snapshot.settings, seen)
        normals = prediction.normals
        if normals is not None and seen is not None:
            normals = torch.where(seen[..., None], normals, torch.nan)
        return DepthMap(
            z,
            frame.camera,
            frame.rgb,
            prediction.confidence,
            scale=scale.state if scale is not None else None,
            has_finite=has_finite,
            free_z=free_z,
            floor=frame.floor or given_floor(snapshot.settings.floor),
            anchors=scale.anchors if scale is not None else None,
            normals=normals,
        )


def _undistorted(frame: Frame, zoom: str) -> tuple[Frame, Tensor | None]:
    return undistort(frame, pinhole(frame.camera, zoom))


def _tried(action: Callable[..., T], *args: Any) -> T | DepthRosError:
    try:
        return action(*args)
    except DepthRosError as error:
        return error


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
    # a few pixels are looked at first; on a GPU this would wait for the network
    if values.device.type == 'cpu' and np.isfinite(values.numpy()[::_SOME, ::_SOME]).any():
        return torch.tensor(True)
    known = torch.isfinite(values)
    if prediction.sky is not None:
        known = known | prediction.sky  # an image of sky alone is valid
    return known.any()
