# SPDX-License-Identifier: Apache-2.0
"""GLPDepth: preprocessing and meaning of the output; metric for the camera of its training.

| variant | output                                                      |
|---------|-------------------------------------------------------------|
| nyu     | Z [m] up to 10, indoors; trained at 640x480, fx 519 px      |
| kitti   | Z [m] up to 80, streets; trained at 1216x352, fx 721 px     |

The network does not use intrinsics. With another camera all depths are wrong by one factor, about
the ratio of the focal lengths [px] at input size; `scaling.scale` can correct it. The evaluation
protocol of KITTI crops images to 1216x352; here the whole image is used.
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
from depth_ros.models.onnx_form import OnnxForm

log = logging.getLogger(__name__)


def load(preset: Preset, options: ModelOptions) -> GlpDepthModel:
    """Build the network of the preset and load `options.weights`.

    Raises:
        ConfigError: no weights, or an input size below the stride of the encoder.
        WeightsError: the file is damaged, or of another network or variant.
    """
    if 0 < options.input_size < STRIDE:
        raise ConfigError(f'input_size is {options.input_size}; the minimum is {STRIDE}')
    network = load_network(lambda: GlpDepth(preset.max_depth), load_checkpoint, preset, options)
    return GlpDepthModel(network, options)


class GlpDepthModel(BatchedModel):
    """`DepthModel` of both variants.

    Args:
        network: with weights, on `options.device` and in `options.dtype`.
        options: as given to `load`.
    """

    def __init__(self, network: GlpDepth, options: ModelOptions) -> None:
        super().__init__(network, Kind.METRIC)
        self._dtype = options.dtype
        self._longer_side = options.input_size
        # (height, width) of the image -> of the network input
        self._sizes: dict[tuple[int, int], tuple[int, int]] = {}

    def postprocess(self, maps: Maps, frame: Frame) -> Prediction:
        """Resize depth (h, w) [m] to (H, W) float32."""
        (depth,) = maps  # (h, w)
        return Prediction(resize_bilinear(depth[None], frame.camera.size)[0], self.kind)

    def network_input(self, frame: Frame) -> Tensor:
        """Resized image, (3, h, w) in 0..1, in the dtype of the network."""
        size = self.network_size(*frame.camera.size)
        x = resize_uint8(frame.rgb, size, 'linear').permute(2, 0, 1)
        return (x.float() / 255).to(self._dtype)

    def onnx_form(self, size: tuple[int, int]) -> OnnxForm:
        """The network for images of (H, W)."""
        described = {'resize': 'opencv_linear'}
        return OnnxForm(self.network, self.network_size(*size), ('depth',), described)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the network input for an image of height x width, multiples of 32."""
        key = (height, width)
        if key not in self._sizes:
            scale = self._longer_side / max(key) if self._longer_side else 1.0
            h, w = (max(1, int(n * scale + 1e-6) // STRIDE) * STRIDE for n in key)
            self._sizes[key] = (h, w)
            log.info('images of %dx%d -> network input %dx%d', width, height, w, h)
        return self._sizes[key]
