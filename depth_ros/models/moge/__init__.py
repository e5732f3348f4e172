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
from depth_ros.models.moge.camera import focal_and_shift, shift_of_known
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
    network = load_network(lambda: MoGe(Config.of(preset)), load_checkpoint, preset, options)
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


def points_and_mask(raw: Tensor, mask: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Points and mask at the pixels of the image.

    Args:
        raw: (3, h, w) float32, points as `network.MoGe.forward` gives them.
        mask: (h, w) float32, likewise.
        size: (H, W).

    Returns:
        x y z (3, H, W) float32, up to scale and shift; and (H, W) bool.
    """
    values = resize_bilinear(torch.cat((raw, mask[None])), size)
    z = values[2].exp()
    return torch.stack((values[0] * z, values[1] * z, z)), values[3] > 0


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
    points, mask = points_and_mask(maps[0], maps[1], size)
    z = points[2] + shift_of_known(points, mask, intrinsics).float()
    return torch.where(mask & (z > 0), z * maps[2].exp(), torch.nan)


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
        points, mask = points_and_mask(maps[0][0], maps[1][0], (h, w))
        focal = float(focal_and_shift(points, mask)[0]) * math.hypot(h, w) / 2
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
        return Prediction(depth_of(maps, camera.size, intrinsics), self.kind)

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
