# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 1, 2 and 3: preprocessing and meaning of the output.

| variant          | output                                                      |
|------------------|-------------------------------------------------------------|
| v1, v2           | a / Z + b, a and b unknown                                  |
| v1_metric10, 80  | Z [m], trained up to 10 m (indoor) or 80 m (outdoor)        |
| v2_metric20, 80  | Z [m], up to 20 m (indoor) or 80 m (outdoor)                |
| v3_metric        | Z [m] of a camera with focal length 300 px at network size  |
| v3_mono          | Z times an unknown factor                                   |
| v3_any           | Z times an unknown factor, with a confidence; also of       |
|                  | several views of a scene, with their poses                  |
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.resample import resize_bilinear, resize_masked
from depth_ros.core.types import Frame, Kind, MultiView, Prediction
from depth_ros.models.batched_model import BatchedModel, Maps
from depth_ros.models.depth_anything.agreement import compared
from depth_ros.models.depth_anything.any_view import AnyView, clear_cache
from depth_ros.models.depth_anything.bins import DepthAnythingBins
from depth_ros.models.depth_anything.cameras import encode, normalised, poses_of
from depth_ros.models.depth_anything.checkpoint import load_checkpoint
from depth_ros.models.depth_anything.network import DepthAnything
from depth_ros.models.depth_anything.preprocessing import PREPROCESSING
from depth_ros.models.depth_anything.variant import Variant
from depth_ros.models.dinov2 import PATCH
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.models.loading import load_network
from depth_ros.models.onnx_form import Converted, OnnxForm

log = logging.getLogger(__name__)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet
CANONICAL_FOCAL = 300.0  # [px] at network size; arXiv 2511.10647
SKY = 0.3  # threshold of the sky output


def load(preset: Preset, options: ModelOptions) -> DepthAnythingModel:
    """Build the network of the preset and load `options.weights`.

    Raises:
        ConfigError: no weights, or an input size below one patch.
        WeightsError: the file is damaged, or of another network or variant.
    """
    if 0 < options.input_size < PATCH:
        raise ConfigError(f'input_size is {options.input_size}; the minimum is {PATCH}, one patch')
    variant = Variant.of(preset)
    cameras = options.views > 1
    network = load_network(
        lambda: build(variant, cameras=cameras), load_checkpoint, preset, options
    )
    assert preset.kind is not None  # every preset of this family has one
    adapter = AnyViewModel if variant.network == 'any_view' else DepthAnythingModel
    return adapter(network, variant, preset.kind, options)


def build(variant: Variant, *, cameras: bool = False) -> DepthAnything:
    """The network of a variant with random weights; the meta device allocates none.

    Args:
        variant: of the network.
        cameras: any-view: with the layers for several views.
    """
    if variant.network == 'bins':
        return DepthAnythingBins(variant)
    if variant.network == 'any_view':
        clear_cache()  # tables of an earlier network
        return AnyView(variant, cameras=cameras)
    return DepthAnything(variant)


class DepthAnythingModel(BatchedModel):
    """`DepthModel` of all variants; see the table above.

    Args:
        network: with weights, on `options.device` and in `options.dtype`.
        variant: of the network.
        kind: of the preset.
        options: as given to `load`.
    """

    def __init__(
        self, network: DepthAnything, variant: Variant, kind: Kind, options: ModelOptions
    ) -> None:
        super().__init__(network, kind)
        self._variant = variant
        self._dtype = options.dtype
        self._preprocessing = PREPROCESSING[
            'bins' if variant.network == 'bins' else variant.version
        ]
        self._side = options.input_size or self._preprocessing.side
        self._max_tokens = options.max_tokens
        # (height, width) of the image -> of the network input
        self._sizes: dict[tuple[int, int], tuple[int, int]] = {}
        self._mean = torch.tensor(MEAN, device=options.device).view(3, 1, 1)
        self._std = torch.tensor(STD, device=options.device).view(3, 1, 1)

    def postprocess(self, maps: Maps, frame: Frame) -> Prediction:
        """Convert output maps (h, w) to a prediction (H, W) float32; see the table above.

        Version 3 metric and mono also detect sky: depth near it is interpolated only between other
        pixels, and is NaN where there are none. The confidence of any-view is at least 1.
        """
        size = frame.camera.size
        if len(maps) == 1:
            return Prediction(self.to_image_pixels(maps[0], size), self.kind)
        if self._variant.network == 'any_view':
            values, confidence = (self.to_image_pixels(y, size) for y in maps)
            return Prediction(values, self.kind, confidence=confidence)
        depth, sky = maps  # (h, w)
        values, is_sky = self.to_image_pixels_without_sky(depth, sky, size)
        focal_px = None
        if self.kind is Kind.CANONICAL:
            # the canonical focal length is given at network size; the scale to the size of the
            # frame differs between the axes
            h, w = depth.shape
            focal_px = (CANONICAL_FOCAL * size[1] / w, CANONICAL_FOCAL * size[0] / h)
        return Prediction(values, self.kind, focal_px=focal_px, sky=is_sky)

    def network_input(self, frame: Frame) -> Tensor:
        """Resized and normalised image, (3, h, w) in the dtype of the network."""
        return self._resized(frame, self.network_size(*frame.camera.size))

    def _resized(self, frame: Frame, size: tuple[int, int]) -> Tensor:
        x = self._preprocessing.resize(frame.rgb, size, self._side)
        return ((x - self._mean) / self._std).to(self._dtype)

    def onnx_form(self, size: tuple[int, int]) -> OnnxForm:
        """The network for images of (H, W)."""
        described: dict[str, Any] = {
            'mean': list(MEAN),
            'std': list(STD),
            'resize': self._preprocessing.kernel,
            'align_corners': self._preprocessing.aligned,
        }
        if self._variant.version == 3:  # resizes in two steps
            described['longer_side'] = self._side
        network: nn.Module = self.network
        outputs: tuple[str, ...] = ('depth',)
        if self.kind is Kind.AFFINE_INVERSE:
            outputs = ('inverse_depth',)
        elif self._variant.network == 'any_view':
            outputs = ('depth', 'confidence')
        elif self._variant.network == 'sky':
            network = Converted(network, lambda maps: (maps[0], maps[1] >= SKY))
            outputs = ('depth', 'sky')
        if self.kind is Kind.CANONICAL:
            described['canonical_focal'] = CANONICAL_FOCAL
        return OnnxForm(network, self.network_size(*size), outputs, described)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the network input for an image of height x width, multiples of 14."""
        key = (height, width)
        if key not in self._sizes:
            p, q = self._preprocessing.patches(height, width, self._side)
            if p * q > self._max_tokens:
                shrink = math.sqrt(self._max_tokens / (p * q))
                p, q = max(1, int(p * shrink)), max(1, int(q * shrink))
                # a side is at least one patch: limit the other one
                p, q = min(p, self._max_tokens), min(q, self._max_tokens)
            self._sizes[key] = (p * PATCH, q * PATCH)
            log.info(
                'images of %dx%d -> network input %dx%d, %d patches',
                width,
                height,
                q * PATCH,
                p * PATCH,
                p * q,
            )
        return self._sizes[key]

    def to_image_pixels(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize an output map (h, w) to (H, W); align_corners as published for each version."""
        if self._preprocessing.aligned == 'none':
            return resize_bilinear(values[None], size)[0]
        return F.interpolate(values[None, None], size=size, mode='bilinear', align_corners=True)[
            0, 0
        ]

    def to_image_pixels_without_sky(
        self, depth: Tensor, sky: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Depth and sky output (h, w) -> depth (H, W) float32 and sky (H, W) bool.

        Depth is interpolated only between pixels that are no sky.
        """
        values, is_solid = resize_masked(depth, sky < SKY, size)
        return values, ~is_solid


class AnyViewModel(DepthAnythingModel):
    """`DepthAnythingModel` that also `TakesViews`.

    Without known poses the first of three views or more is the reference view, so that it does not
    change between the images of a moving camera.
    """

    scale_memory = 1

    @torch.inference_mode()
    def predict_views(
        self, frames: Sequence[Frame], known: Sequence[NDArray[np.float64]] | None = None
    ) -> MultiView:
        """Predict depth of the first view and the poses of the other cameras, up to one factor.

        Args:
            frames: undistorted, with overlapping images. Images of another shape than the first
                are cut to its aspect ratio.
            known: T_first_other (4, 4) in any unit of each view but the first; the network then
                uses these poses and the fields of view of the cameras. None if not known.

        Raises:
            ConfigError: the model was loaded for one view.
        """
        if self.network.camera_decoder is None:
            raise ConfigError(
                'Depth Anything 3 was loaded without its layers for several views; set '
                'ModelOptions.views to load them'
            )
        size = self.network_size(*frames[0].camera.size)
        frames = [frames[0], *(_with_aspect(frame, frames[0].camera) for frame in frames[1:])]
        cameras = [frame.camera.resized(size[1], size[0]) for frame in frames]
        x = torch.stack([self._resized(frame, size) for frame in frames])
        encoded = None
        if known is not None:
            T_camera_first = np.linalg.inv(np.stack([np.eye(4), *known]))
            encoded = encode(normalised(T_camera_first, min_unit=0), cameras).to(x.device)
        x = x.contiguous(memory_format=torch.channels_last)
        depth, confidence, found = self.network.views(x, encoded, reference='first')
        T_world_camera = poses_of(found)
        T_first_camera = np.linalg.inv(T_world_camera[0]) @ T_world_camera
        views = list(zip(depth, cameras, strict=True))
        poses = tuple(
            compared(T_first_camera[k], views[0], views[k], confidence[k])
            for k in range(1, len(views))
        )
        image = frames[0].camera.size
        z, certain = (self.to_image_pixels(y[0], image) for y in (depth, confidence))
        return MultiView(z, certain, poses)


def _with_aspect(frame: Frame, camera: Camera) -> Frame:
    """The middle of a frame, as high and wide as it can be with the aspect ratio of a camera."""
    height, width = frame.camera.size
    new_height = min(height, max(1, round(width * camera.height / camera.width)))
    new_width = min(width, max(1, round(height * camera.width / camera.height)))
    if (new_height, new_width) == (height, width):
        return frame
    top, left = (height - new_height) // 2, (width - new_width) // 2
    rgb = frame.rgb[top : top + new_height, left : left + new_width]
    return replace(frame, rgb=rgb, camera=frame.camera.cropped(left, top, new_width, new_height))
