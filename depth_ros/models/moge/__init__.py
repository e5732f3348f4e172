# SPDX-License-Identifier: Apache-2.0
"""MoGe-2: preprocessing and meaning of the output, metric for any camera.

The network predicts a point for each pixel, up to one scale and one shift along the optical axis,
and the scale. The shift follows from the rays of the pixels (`camera`), so the intrinsics are used
after the network; without them its points also give the focal length. Pixels without a point, such
as sky, are NaN: the network does not say which of them are sky.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, InferenceError
from depth_ros.core.resample import resize_bilinear
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models.batched_model import BatchedModel, Maps
from depth_ros.models.dinov2 import PATCH
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.models.loading import load_network
from depth_ros.models.moge.camera import focal_and_shift, samples, shift_of_known
from depth_ros.models.moge.checkpoint import load_checkpoint, stated_config
from depth_ros.models.moge.config import Config
from depth_ros.models.moge.network import MoGe
from depth_ros.models.onnx_form import OnnxForm

log = logging.getLogger(__name__)


def load(preset: Preset, options: ModelOptions) -> MoGeModel:
    """Build the network of the preset and load `options.weights`.

    Raises:
        ConfigError: no weights, or an input size below one patch.
        WeightsError: the file is damaged, or of another network or variant.
    """
    if 0 < options.input_size < PATCH:
        raise ConfigError(f'input_size is {options.input_size}; the minimum is {PATCH}, one patch')

    def build() -> MoGe:
        return MoGe(Config.of(preset), normals=options.normals)

    network = load_network(build, load_checkpoint, preset, options)
    if options.without_weights and options.weights is not None:
        network.configure(stated_config(preset, options.weights))
    return MoGeModel(network, options)


def with_shape(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """Add the channels that tell the network the shape of an image before it was resized.

    Args:
        rgb: (B, 3, h, w).
        size: (H, W) of the image.

    Returns:
        (B, 5, h, w); see `network.MoGe.forward`.
    """
    diagonal = math.hypot(*size)
    planes = [torch.full_like(rgb[:, :1], side / diagonal) for side in reversed(size)]
    return torch.cat((rgb, *planes), dim=1)


def points_and_mask(raw: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Points and mask from the outputs of the network, after these are resized.

    Args:
        raw: (3, h, w) float32, points as `network.MoGe.forward` gives them.
        mask: (h, w) float32, likewise.

    Returns:
        x y z (3, h, w) float32, up to scale and shift; and (h, w) bool.
    """
    z = raw[2].exp()
    return torch.stack((raw[0] * z, raw[1] * z, z)), mask > 0


def depth_of(
    maps: Sequence[Tensor], size: tuple[int, int], intrinsics: Sequence[float | Tensor]
) -> Tensor:
    """Depth from the outputs of the network for one image.

    Args:
        maps: of `network.MoGe.forward`, without the batch axis.
        size: (H, W) of the image.
        intrinsics: fx fy cx cy of the image [px].

    Returns:
        (H, W) float32 [m], NaN where the network gives no point.
    """
    values = resize_bilinear(torch.cat((maps[0], maps[1][None])), size)
    few = samples(values)
    shift = shift_of_known(*points_and_mask(few[:3], few[3]), size, intrinsics)
    z = values[2].exp() + shift.float()
    return torch.where((values[3] > 0) & (z > 0), z * maps[2].exp(), torch.nan)


def normals_of(raw: Tensor, depth: Tensor) -> Tensor:
    """Surface normals from the output of the network for one image.

    Args:
        raw: (3, h, w) float32, of any length.
        depth: (H, W) float32, NaN where there is none.

    Returns:
        (H, W, 3) float32, as `Prediction.normals`.
    """
    height, width = depth.shape
    vectors = resize_bilinear(raw, (height, width))
    # in few passes over the memory, and the last one to the layout of an image
    length = vectors.square().sum(dim=0).sqrt_().clamp_(min=1e-12)
    length = torch.where(depth.isnan(), torch.nan, length)
    if depth.device.type == 'cpu':
        return torch.from_numpy(cv2.merge([*(vectors / length).numpy()]))
    return (vectors / length).permute(1, 2, 0).contiguous()


class MoGeModel(BatchedModel):
    """`DepthModel` that also `EstimatesCamera`.

    Args:
        network: with weights, on `options.device` and in `options.dtype`.
        options: as given to `load`.
    """

    def __init__(self, network: MoGe, options: ModelOptions) -> None:
        super().__init__(network, Kind.METRIC)
        self._dtype = options.dtype
        self._longer_side = options.input_size
        self._max_tokens = options.max_tokens
        # (height, width) of the image -> of the network input
        self._sizes: dict[tuple[int, int], tuple[int, int]] = {}

    @torch.inference_mode()
    def estimate_camera(self, rgb: Tensor) -> Camera:
        """Estimate the intrinsics of an uncalibrated camera.

        Args:
            rgb: (H, W, 3) uint8 image, on the device of the network.

        Returns:
            Camera of this size with square pixels and a central principal point.

        Raises:
            InferenceError: the points of the image are not those of a camera.
        """
        h, w = rgb.shape[:2]
        maps = (self.engine or self.network)(self._input(rgb)[None])
        few = samples(resize_bilinear(torch.cat((maps[0][0], maps[1])), (h, w)))
        relative, _ = focal_and_shift(*points_and_mask(few[:3], few[3]), (h, w))
        focal = float(relative) * math.hypot(h, w) / 2
        if not 0 < focal < math.inf:
            raise InferenceError(
                f'the network finds no camera for the image: its focal length would be {focal:g} '
                'px; show it a scene with depth, or calibrate the camera'
            )
        return Camera(w, h, focal, focal, (w - 1) / 2, (h - 1) / 2)

    def network_input(self, frame: Frame) -> Tensor:
        """Resized image in 0..1 and its shape, (5, h, w); see `network.MoGe.forward`."""
        return self._input(frame.rgb)

    def _input(self, rgb: Tensor) -> Tensor:
        height, width = rgb.shape[:2]
        size = self.network_size(height, width)
        x = rgb.permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)
        x = F.interpolate(x, size, mode='bilinear', align_corners=False, antialias=True)
        return with_shape(x, (height, width))[0].to(self._dtype)

    def postprocess(self, maps: Maps, frame: Frame) -> Prediction:
        """Convert the maps of `network.MoGe.forward` to depth [m], (H, W) float32."""
        camera = frame.camera
        intrinsics = camera.fx, camera.fy, camera.cx, camera.cy
        depth = depth_of(maps, camera.size, intrinsics)
        normals = normals_of(maps[3], depth) if len(maps) > 3 else None
        return Prediction(depth, self.kind, normals=normals)

    def onnx_form(self, size: tuple[int, int]) -> OnnxForm:
        """The network with everything after it, for images of (H, W); NaN where no point is."""
        described: dict[str, Any] = {'resize': 'linear_antialias'}
        described |= {'mean': [0.0] * 3, 'std': [1.0] * 3}
        network = _WithIntrinsics(self.network, size)
        inner = self.network_size(*size)
        return OnnxForm(network, inner, ('depth',), described, takes_intrinsics=True)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the network input for an image of height x width, multiples of 14."""
        key = (height, width)
        if key not in self._sizes:
            aspect = width / height
            tokens: float = self.network.config.tokens[0]
            if self._longer_side:
                tokens = (self._longer_side / PATCH) ** 2 * min(aspect, 1 / aspect)
            tokens = min(tokens, self._max_tokens)
            # rounds half to even, as published
            p, q = (max(1, round(n**0.5)) for n in (tokens / aspect, tokens * aspect))
            # a side is at least one patch: limit the other one
            p, q = min(p, self._max_tokens), min(q, self._max_tokens)
            self._sizes[key] = (p * PATCH, q * PATCH)
            low, high = self.network.config.tokens
            log.info(
                'images of %dx%d -> network input %dx%d, %d patches (trained with %d to %d)',
                width, height, q * PATCH, p * PATCH, p * q, low, high,
            )  # fmt: skip
        return self._sizes[key]


class _WithIntrinsics(nn.Module):
    """Image and K -> depth [m]; see `onnx_form.OnnxForm`.

    Args:
        network: of the family.
        size: (H, W) of the images, and of the depth.
    """

    def __init__(self, network: MoGe, size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self._size = size

    def forward(self, image: Tensor, intrinsics: Tensor) -> Tensor:
        """(1, 3, h, w) in 0..1, and K of it (1, 3, 3) [px] -> (1, H, W) float32."""
        (height, width), (h, w), K = self._size, image.shape[2:], intrinsics[0]
        down, across = height / h, width / w
        centre = (K[0, 2] + 0.5) * across - 0.5, (K[1, 2] + 0.5) * down - 0.5
        maps = self.network(with_shape(image, self._size))
        rays = K[0, 0] * across, K[1, 1] * down, *centre
        return depth_of([one[0] for one in maps], self._size, rays)[None]
