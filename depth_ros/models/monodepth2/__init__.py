# SPDX-License-Identifier: Apache-2.0
"""Monodepth2: preprocessing and meaning of the output; small networks for cameras on cars.

| trained with        | output                                            |
|---------------------|---------------------------------------------------|
| stereo, mono+stereo | Z [m] for the camera of the KITTI data set        |
| mono                | Z times an unknown factor                         |

The network does not use intrinsics; it was trained with the camera of KITTI (fx 0.58 of the width,
fy 1.92 of the height). For another camera, Z times (fx / W) / 0.58 would correct the magnification
along x; this approximation is untested and not applied. Set `scaling.scale` to it, or better to a
measured factor.
"""

from __future__ import annotations

from torch import Tensor

from depth_ros.core.errors import ConfigError
from depth_ros.core.resample import resize_bilinear, resize_uint8
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models.batched_model import BatchedModel, Maps
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.models.loading import load_network
from depth_ros.models.monodepth2.checkpoint import load_checkpoint
from depth_ros.models.monodepth2.network import Monodepth2, Variant
from depth_ros.models.onnx_form import Converted, OnnxForm

MIN_DEPTH, MAX_DEPTH = 0.1, 100.0  # range of the output, in the unit of training
# Training used a stereo baseline of 0.1; that of KITTI's car is 0.54 m.
METRES = 5.4  # per unit of training


def load(preset: Preset, options: ModelOptions) -> Monodepth2Model:
    """Build the network of the preset and load `options.weights`.

    Raises:
        ConfigError: no weights, or another input size than that of the preset.
        WeightsError: a file is missing or damaged, or of another network or variant.
    """
    variant = Variant.parse(preset.variant)
    if options.input_size not in (0, variant.width):
        raise ConfigError(
            f'input_size is {options.input_size}, but {preset.variant} was trained for '
            f'{variant.width}x{variant.height} only; set it to 0'
        )
    network = load_network(lambda: Monodepth2(variant), load_checkpoint, preset, options)
    assert preset.kind is not None  # every preset of this family has one
    return Monodepth2Model(network, preset.kind, options)


class Monodepth2Model(BatchedModel):
    """`DepthModel` of all variants.

    Args:
        network: with weights, on `options.device` and in `options.dtype`.
        kind: of the preset.
        options: as given to `load`.
    """

    def __init__(self, network: Monodepth2, kind: Kind, options: ModelOptions) -> None:
        super().__init__(network, kind)
        self._dtype = options.dtype
        self._size = (network.variant.height, network.variant.width)
        self._unit = METRES if kind is Kind.METRIC else 1.0

    def postprocess(self, maps: Maps, frame: Frame) -> Prediction:
        """Convert the output (h, w) to depth (H, W) float32; see the table above."""
        (sigmoid_disparity,) = maps  # (h, w)
        # resized before the division, so that inverse depth is interpolated
        sigmoid_disparity = self.to_image_pixels(sigmoid_disparity, frame.camera.size)
        return Prediction(self._unit * depth(sigmoid_disparity), self.kind)

    def network_input(self, frame: Frame) -> Tensor:
        """Resized image, (3, h, w) in 0..1, in the dtype of the network; the aspect changes."""
        x = resize_uint8(frame.rgb, self._size, 'lanczos3').permute(2, 0, 1)
        return (x.float() / 255).to(self._dtype)

    def onnx_form(self, size: tuple[int, int]) -> OnnxForm:
        """The network with inverse depth as its output, for images of (H, W)."""
        network = Converted(self.network, lambda y: 1 / (self._unit * depth(y)))
        described = {'inverse': True, 'resize': 'pillow_lanczos'}
        return OnnxForm(network, self._size, ('inverse_depth',), described)

    def to_image_pixels(self, sigmoid_disparity: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize an output map (h, w) to (H, W)."""
        return resize_bilinear(sigmoid_disparity[None], size)[0]


def depth(sigmoid_disparity: Tensor) -> Tensor:
    """Output of the network in 0..1 -> Z in the unit of training."""
    return 1 / (1 / MAX_DEPTH + (1 / MIN_DEPTH - 1 / MAX_DEPTH) * sigmoid_disparity)
