# SPDX-License-Identifier: Apache-2.0
"""Depth Pro: preprocessing and meaning of the output.

The picture is squeezed to 1536 x 1536 whatever its shape, so only the focal length in picture
widths counts: Z = fx / W / C, C the network's canonical inverse depth. In terms of `Prediction`
that is a canonical camera of fx = W.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.resample import resize_bilinear
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models.batched_model import BatchedModel, Maps
from depth_ros.models.depth_pro.checkpoint import load_checkpoint
from depth_ros.models.depth_pro.network import SIDE, TILES, DepthPro
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.models.loading import load_network

#: Inverse depth [1/m] the publishers clamp to: 10 km, their answer for the sky, and 0.1 mm.
FAR, NEAR = 1e-4, 1e4
TILES_ON_CPU = 5  # no slower on 2 cores than all at once, and a seventh of their tokens


def load(preset: Preset, options: ModelOptions) -> DepthProModel:
    """Build the network and fill it from `options.weights`.

    Args:
        preset: the row of the table.
        options: `input_size` is the network's own; `max_tokens` does not bind, a tile is 577;
            `estimate_camera` also loads the third encoder, which tells the field of view.

    Raises:
        ConfigError: no weights, or another input size than 1536.
        WeightsError: the file is broken, or another network's.
    """
    if options.input_size not in (0, SIDE):
        raise ConfigError(f'input_size is {options.input_size}; Depth Pro takes {SIDE} only')
    network = load_network(
        lambda: DepthPro(fov=options.estimate_camera), load_checkpoint, preset, options
    )
    usual = TILES if options.device.type == 'cuda' else TILES_ON_CPU
    network.encoder.tiles_per_batch = options.tile_batch or usual
    return DepthProModel(network, options)


class DepthProModel(BatchedModel):
    """A model that also `EstimatesCamera`; see `load`."""

    def __init__(self, network: DepthPro, options: ModelOptions) -> None:
        """`network` is filled, on `options.device` and of `options.dtype`."""
        super().__init__(network, Kind.CANONICAL)
        self._dtype = options.dtype

    @torch.inference_mode()
    def estimate_camera(self, rgb: Tensor) -> Camera:
        """The camera the network believes took (H, W, 3) uint8: for cameras nobody calibrated.

        Raises:
            ConfigError: the network was loaded without its field of view.
        """
        if self.network.fov is None:
            raise ConfigError('Depth Pro was loaded without its field of view')
        h, w = rgb.shape[:2]
        fov = math.radians(float(self.network.fov_deg(self._squeezed(rgb)[None])[0]))
        focal = 0.5 * w / math.tan(0.5 * fov)
        return Camera(w, h, focal, focal, (w - 1) / 2, (h - 1) / 2)

    def network_input(self, frame: Frame) -> Tensor:
        """(3, 1536, 1536) in -1..1, of the network's dtype."""
        return self._squeezed(frame.rgb)

    def _squeezed(self, rgb: Tensor) -> Tensor:
        x = rgb.permute(2, 0, 1).float() / 255  # (3, H, W)
        return resize_bilinear((x - 0.5) / 0.5, (SIDE, SIDE)).to(self._dtype)

    def postprocess(self, maps: Maps, frame: Frame) -> Prediction:
        """Canonical inverse depth (1536, 1536) -> Z_c [m] of a camera of fx = W, (H, W) float32.

        Sky is where the network says 10 km. The publishers multiply by W / fx, resize and clamp.
        The factor is left to `scaling`, so the clamp is moved to where it is the same in metres.
        """
        (inverse,), camera = maps, frame.camera
        w, fx, fy = camera.width, camera.fx, camera.fy
        resized = resize_bilinear(inverse[None], camera.size)[0]
        far, near = FAR * fx / w, NEAR * fx / w
        return Prediction(
            1 / resized.clamp(far, near),
            self.kind,
            focal_px=(w, w * fy / fx),  # both ratios are fx / W: fy does not count
            sky=resized <= far,
        )
