# SPDX-License-Identifier: Apache-2.0
"""GLPDepth: preprocessing and meaning of the output. Metres, for the camera it was trained with.

| variant | output                                                      |
|---------|-------------------------------------------------------------|
| nyu     | Z [m] up to 10, rooms; trained at 640x480, fx 519 px        |
| kitti   | Z [m] up to 80, streets; trained at 1216x352, fx 721 px     |

The network does not ask for intrinsics: with another camera all of its depths are off by one
factor, roughly the ratio of the focal lengths [px] at input size, which `scaling.scale` can hold.
KITTI's evaluation protocol crops pictures to 1216x352; here the whole picture is used.
"""

from __future__ import annotations

import logging

from torch import Tensor

from depth_ros.core.errors import ConfigError
from depth_ros.core.resample import resize_bilinear, resize_uint8
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models.batched_model import BatchedModel, Maps
from depth_ros.models.glpdepth.checkpoint import load_checkpoint
from depth_ros.models.glpdepth.network import STRIDE, GlpDepth
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.models.loading import load_network

log = logging.getLogger(__name__)


def load(preset: Preset, options: ModelOptions) -> GlpDepthModel:
    """Build the preset's network and fill it from `options.weights`.

    Raises:
        ConfigError: no weights, or an input size below the encoder's stride.
        WeightsError: the file is broken, or another network's or variant's.
    """
    if 0 < options.input_size < STRIDE:
        raise ConfigError(f'input_size is {options.input_size}; the least is {STRIDE}')
    network = load_network(lambda: GlpDepth(preset.max_depth), load_checkpoint, preset, options)
    return GlpDepthModel(network, options)


class GlpDepthModel(BatchedModel):
    """See `load`."""

    def __init__(self, network: GlpDepth, options: ModelOptions) -> None:
        """`network` is filled, on `options.device` and of `options.dtype`."""
        super().__init__(network, Kind.METRIC)
        self._dtype = options.dtype
        self._longest = options.input_size
        self._sizes: dict[
            tuple[int, int], tuple[int, int]
        ] = {}  # camera -> network, (height, width)

    def postprocess(self, maps: Maps, frame: Frame) -> Prediction:
        """Depth [m], (H, W) float32."""
        (depth,) = maps  # (h, w)
        return Prediction(resize_bilinear(depth[None], frame.camera.size)[0], self.kind)

    def network_input(self, frame: Frame) -> Tensor:
        """(3, h, w) in 0..1, of the network's dtype."""
        size = self.network_size(*frame.camera.size)
        x = resize_uint8(frame.rgb, size, 'linear').permute(2, 0, 1)
        return (x.float() / 255).to(self._dtype)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the network's input for a picture of height x width, multiples of 32."""
        key = (height, width)
        if key not in self._sizes:
            scale = self._longest / max(key) if self._longest else 1.0
            h, w = (max(1, int(n * scale + 1e-6) // STRIDE) * STRIDE for n in key)
            self._sizes[key] = (h, w)
            log.info('pictures of %dx%d -> network %dx%d', width, height, w, h)
        return self._sizes[key]
