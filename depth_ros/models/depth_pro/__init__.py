# SPDX-License-Identifier: Apache-2.0
"""Depth Pro: preprocessing and meaning of the output.

The image is resized to 1536 x 1536 regardless of its aspect ratio, so depth depends on the focal
length in image widths: Z = fx / W / C, where C is the canonical inverse depth of the network. In
terms of `Prediction` this is a canonical camera with fx = W.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.resample import resize_bilinear
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models.batched_model import BatchedModel, Maps
from depth_ros.models.depth_pro.checkpoint import load_checkpoint
from depth_ros.models.depth_pro.network import SIDE, TILES, DepthPro
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.models.loading import load_network
from depth_ros.models.onnx_form import OnnxForm

#: Range of inverse depth [1/m] in the published code: 10 km, which also means sky, and 0.1 mm.
FAR, NEAR = 1e-4, 1e4
TILES_ON_CPU = 5  # per batch; no slower on 2 cores than all at once, with a seventh of the tokens


def load(preset: Preset, options: ModelOptions) -> DepthProModel:
    """Build the network and load `options.weights`.

    Args:
        preset: of this family.
        options: `input_size` must be 0 or 1536; `max_tokens` has no effect, as a tile has 577
            tokens; `estimate_camera` also loads the encoder that estimates the field of view.

    Raises:
        ConfigError: no weights, or another input size than 1536.
        WeightsError: the file is damaged, or of another network.
    """
    if options.input_size not in (0, SIDE):
        raise ConfigError(
            f'input_size is {options.input_size}; Depth Pro supports {SIDE} only: set it to 0'
        )
    network = load_network(
        lambda: DepthPro(fov=options.estimate_camera), load_checkpoint, preset, options
    )
    default = TILES if options.device.type == 'cuda' else TILES_ON_CPU
    network.encoder.tiles_per_batch = options.tile_batch or default
    return DepthProModel(network, options)


class DepthProModel(BatchedModel):
    """`DepthModel` that also `EstimatesCamera`.

    Args:
        network: with weights, on `options.device` and in `options.dtype`.
        options: as given to `load`.
    """

    def __init__(self, network: DepthPro, options: ModelOptions) -> None:
        super().__init__(network, Kind.CANONICAL)
        self._dtype = options.dtype

    @torch.inference_mode()
    def estimate_camera(self, rgb: Tensor) -> Camera:
        """Estimate the intrinsics of an uncalibrated camera.

        Args:
            rgb: (H, W, 3) uint8 image, on the device of the network.

        Returns:
            Camera of this size with square pixels and a central principal point.

        Raises:
            ConfigError: the model was loaded without `estimate_camera`.
        """
        if self.network.fov is None:
            raise ConfigError(
                'Depth Pro was loaded without its field of view; set estimate_camera to load it'
            )
        h, w = rgb.shape[:2]
        fov = math.radians(float(self.network.fov_deg(self._resize(rgb)[None])[0]))
        focal = 0.5 * w / math.tan(0.5 * fov)
        return Camera(w, h, focal, focal, (w - 1) / 2, (h - 1) / 2)

    def network_input(self, frame: Frame) -> Tensor:
        """Resized image, (3, 1536, 1536) in -1..1, in the dtype of the network."""
        return self._resize(frame.rgb)

    def _resize(self, rgb: Tensor) -> Tensor:
        x = rgb.permute(2, 0, 1).float() / 255  # (3, H, W)
        return resize_bilinear((x - 0.5) / 0.5, (SIDE, SIDE)).to(self._dtype)

    def onnx_form(self, size: tuple[int, int]) -> OnnxForm:
        """The network with inverse depth [1/m] of the camera as its output."""
        described: dict[str, Any] = {'kind': 'metric', 'inverse': True, 'resize': 'linear'}
        described |= {'mean': [0.5] * 3, 'std': [0.5] * 3}
        network = _WithIntrinsics(self.network)
        return OnnxForm(
            network, (SIDE, SIDE), ('inverse_depth',), described, takes_intrinsics=True
        )

    def postprocess(self, maps: Maps, frame: Frame) -> Prediction:
        """Convert canonical inverse depth (1536, 1536) to Z_c [m] for fx = W, (H, W) float32.

        Sky is where depth is at least 10 km. The published code multiplies by W / fx, resizes and
        clamps. Here `scaling` applies the factor later, so the limits are divided by it.
        """
        (inverse,), camera = maps, frame.camera
        w, fx, fy = camera.width, camera.fx, camera.fy
        resized = resize_bilinear(inverse[None], camera.size)[0]
        far, near = FAR * fx / w, NEAR * fx / w
        return Prediction(
            1 / resized.clamp(far, near),
            self.kind,
            focal_px=(w, w * fy / fx),  # so that both ratios are fx / W: fy has no effect
            sky=resized <= far,
        )


class _WithIntrinsics(nn.Module):
    """Image and K -> inverse depth [1/m]; see `onnx_form.OnnxForm`."""

    def __init__(self, network: DepthPro) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, intrinsics: Tensor) -> Tensor:
        """(1, 3, 1536, 1536) and (1, 3, 3) -> (1, 1536, 1536) float32."""
        inverse: Tensor = self.network(image) * (SIDE / intrinsics[:, 0, 0])
        return inverse.clamp(FAR, NEAR)
