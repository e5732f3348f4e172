# SPDX-License-Identifier: Apache-2.0
"""Monodepth2: preprocessing and meaning of the output. Small, for cameras on cars.

| trained with        | output                                            |
|---------------------|---------------------------------------------------|
| stereo, mono+stereo | Z [m] of the camera of the KITTI data set         |
| mono                | Z times an unknown factor                         |

The network does not ask for intrinsics: it learnt KITTI's camera (fx 0.58 of the width, fy 1.92 of
the height). With another one, Z times (fx / W) / 0.58 corrects the magnification along x; this is
a first approximation, untested, and is not applied. `scaling.scale` can hold it, or better the
factor of a calibration.
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

NEAREST, FARTHEST = 0.1, 100.0  # depths the output spans, in the unit of training
# Training put the two cameras of a pair 0.1 apart; on the car of KITTI it is 0.54 m.
METRES = 5.4


def load(preset: Preset, options: ModelOptions) -> Monodepth2Model:
    """Build the preset's network and fill it from `options.weights`.

    Raises:
        ConfigError: no weights, or another input size than the preset's.
        WeightsError: a file is missing or broken, or another network's or variant's.
    """
    variant = Variant.parse(preset.variant)
    if options.input_size not in (0, variant.width):
        raise ConfigError(
            f'input_size is {options.input_size}, but {preset.variant} was trained for '
            f'{variant.width}x{variant.height} only; set it to 0'
        )
    network = load_network(lambda: Monodepth2(variant), load_checkpoint, preset, options)
    assert preset.kind is not None  # every row of this family has one
    return Monodepth2Model(network, preset.kind, options)


class Monodepth2Model(BatchedModel):
    """See `load`."""

    def __init__(self, network: Monodepth2, kind: Kind, options: ModelOptions) -> None:
        """`network` is filled, on `options.device` and of `options.dtype`."""
        super().__init__(network, kind)
        self._dtype = options.dtype
        self._size = (network.variant.height, network.variant.width)
        self._unit = METRES if kind is Kind.METRIC else 1.0

    def postprocess(self, maps: Maps, frame: Frame) -> Prediction:
        """Depth as in the table above, (H, W) float32."""
        (sigmoid_disparity,) = maps  # (h, w)
        # Resized before the division: what lies between two depths mixes in inverse depth.
        sigmoid_disparity = self.to_image_pixels(sigmoid_disparity, frame.camera.size)
        return Prediction(self._unit * depth(sigmoid_disparity), self.kind)

    def network_input(self, frame: Frame) -> Tensor:
        """(3, h, w) in 0..1, of the network's dtype; the aspect is not kept."""
        x = resize_uint8(frame.rgb, self._size, 'lanczos3').permute(2, 0, 1)
        return (x.float() / 255).to(self._dtype)

    def to_image_pixels(self, sigmoid_disparity: Tensor, size: tuple[int, int]) -> Tensor:
        """(h, w) -> (H, W)."""
        return resize_bilinear(sigmoid_disparity[None], size)[0]


def depth(sigmoid_disparity: Tensor) -> Tensor:
    """The network's number in 0..1 -> Z in the unit of training."""
    return 1 / (1 / FARTHEST + (1 / NEAREST - 1 / FARTHEST) * sigmoid_disparity)
