# SPDX-License-Identifier: Apache-2.0
"""Nano: preprocessing and meaning of the output; canonical depth, trained on synthetic images.

The weights are part of the package. The image is downscaled to an area of 96x72 px, whatever its
aspect. The output is depth for a focal length of `network.FOCAL` px at network size, and a logit
of sky.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from depth_ros.checkpoints.families import describe, guess_family
from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, WeightsError
from depth_ros.core.resample import downscale, resize_masked
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models.batched_model import BatchedModel, Maps
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.models.nano.network import (
    FOCAL,
    MEAN,
    MIN_SIDE,
    SIDE,
    SKY_LOGIT,
    STD,
    Nano,
    input_size,
    slopes,
)
from depth_ros.models.onnx_form import OnnxForm

log = logging.getLogger(__name__)
ASPECTS = 0.74, 1.8  # width / height, beyond which the metres of real crops were off by a third


def load(preset: Preset, options: ModelOptions) -> NanoModel:
    """Build the network and load `options.weights`.

    Raises:
        ConfigError: no weights, or an input size below `MIN_SIDE`.
        WeightsError: the file is damaged, or of another network.
    """
    if options.weights is None:
        raise ConfigError(f'nano needs weights; set weights to {preset.source.packaged}')
    if 0 < options.input_size < MIN_SIDE:
        raise ConfigError(f'input_size is {options.input_size}; the minimum is {MIN_SIDE}')
    with torch.device('meta'):  # saves the time of random weights
        network = Nano()
    if options.without_weights:
        return NanoModel(network.to('meta'), options)
    state = read_checkpoint(options.weights)
    if guess_family(state) != 'nano':
        raise WeightsError(
            f'{options.weights} {describe(state)}; leave weights empty, or give a file that '
            'python -m tools.train wrote'
        )
    # the file stores matrices in half precision
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    load_strict(network, state, path=options.weights)
    network = network.to(options.device, options.dtype).to(memory_format=torch.channels_last)
    return NanoModel(network.eval().requires_grad_(False), options)


class NanoModel(BatchedModel):
    """`DepthModel` of nano.

    Args:
        network: with weights, on `options.device` and in `options.dtype`.
        options: as given to `load`.
    """

    def __init__(self, network: Nano, options: ModelOptions) -> None:
        super().__init__(network, Kind.CANONICAL)
        self._dtype = options.dtype
        self._side = options.input_size or SIDE
        self._cameras: dict[Camera, tuple[Camera, Tensor]] = {}

    def postprocess(self, maps: Maps, frame: Frame) -> Prediction:
        """Convert output maps to depth of the canonical camera [m], (H, W) float32, and sky.

        Depth near the sky is interpolated only between other pixels, and is NaN where there are
        none.
        """
        size = frame.camera.size
        log_z, sky = maps  # (h, w)
        h, w = log_z.shape
        values, is_solid = resize_masked(log_z.exp(), sky <= SKY_LOGIT, size)
        return Prediction(
            values,
            self.kind,
            # f_c is given at network size: scale it to the size of the frame
            focal_px=(FOCAL * size[1] / w, FOCAL * size[0] / h),
            sky=~is_solid,
        )

    def network_input(self, frame: Frame) -> Tensor:
        """Normalised image and ray slopes of its pixels, (5, h, w) in the dtype of the network."""
        camera, ray_slopes = self._network_camera(frame)
        x = downscale(frame.rgb, camera.size).permute(2, 0, 1) / 255  # (3, h, w)
        return torch.cat(((x - MEAN) / STD, ray_slopes)).to(self._dtype)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the network input for an image of height x width, see `network.input_size`."""
        return input_size(height, width, self._side)

    def onnx_form(self, size: tuple[int, int]) -> OnnxForm:
        """The network with its ray slopes, for images of (H, W)."""
        described = {
            'mean': [MEAN] * 3,
            'std': [STD] * 3,
            'canonical_focal': FOCAL,
            'resize': 'opencv_area',
        }
        return OnnxForm(
            _WithIntrinsics(self.network),
            self.network_size(*size),
            ('depth', 'sky'),
            described,
            takes_intrinsics=True,
        )

    def _network_camera(self, frame: Frame) -> tuple[Camera, Tensor]:
        """Camera at network size and its `slopes` (2, h, w), cached for each camera."""
        if frame.camera not in self._cameras:
            h, w = self.network_size(*frame.camera.size)
            camera = frame.camera.resized(w, h)
            if frame.camera.size not in {known.size for known in self._cameras}:
                width, height = frame.camera.width, frame.camera.height
                log.info('images of %dx%d -> network input %dx%d', width, height, w, h)
                if not ASPECTS[0] <= width / height <= ASPECTS[1]:
                    log.warning(
                        'images of %dx%d are far from 4:3, on which nano was trained: its depth '
                        'may be wrong by a third and more. Crop them, or choose another model',
                        width, height,
                    )  # fmt: skip
            if len(self._cameras) > 16:
                self._cameras.pop(next(iter(self._cameras)))
            self._cameras[frame.camera] = (camera, slopes(camera, frame.rgb.device))
        return self._cameras[frame.camera]


class _WithIntrinsics(nn.Module):
    """Image and K -> depth of the canonical camera [m], and sky; see `onnx_form.OnnxForm`."""

    def __init__(self, network: Nano) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 3, h, w) and (1, 3, 3) -> (1, h, w) float32 and (1, h, w) bool."""
        h, w = image.shape[2:]
        cx, cy = intrinsics[:, 0, 2], intrinsics[:, 1, 2]
        u = (torch.arange(w, dtype=torch.float32) - cx) / FOCAL  # as `network.slopes`
        v = (torch.arange(h, dtype=torch.float32) - cy) / FOCAL
        ray_slopes = torch.stack((u.expand(h, -1), v[:, None].expand(-1, w)))[None]
        log_z, sky = self.network(torch.cat((image, ray_slopes), dim=1))
        return log_z.exp(), sky > SKY_LOGIT
