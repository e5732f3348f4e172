# SPDX-License-Identifier: Apache-2.0
"""Any network for depth of the Hugging Face hub, run by the library transformers.

`weights` is a hub id or a folder with config.json, preprocessor_config.json and the weights as
safetensors. Pixels are prepared and depth is resized by the image processor of the network, as its
authors published it. What the output means is stated by `transformers.kind`, or known by the type
of the network (`kinds.py`).

No code of a repository is run: only architectures that transformers itself has are built, from the
plain values of config.json, and their tensors are read here (`files.py`).
"""

from __future__ import annotations

import inspect
import logging
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from depth_ros.checkpoints.source import Source
from depth_ros.core.errors import ConfigError, InferenceError, first_line
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models.batched_model import BatchedModel, Maps
from depth_ros.models.depth_pro import FAR, NEAR
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.models.transformers import files, kinds
from depth_ros.parameters.settings import Transformers

log = logging.getLogger(__name__)

#: why `engine` has no effect
NOT_EXPORTED = 'the library transformers runs it'


def check_libraries(preset: Preset, weights: str) -> None:
    """Check, before anything is downloaded, that transformers is installed and weights are named.

    Raises:
        ConfigError: it is missing, or weights is empty.
    """
    files.import_library()
    if not weights:
        raise ConfigError(
            f'{preset.name} needs weights: a hub id such as depth-anything/'
            'Depth-Anything-V2-Small-hf, or a folder with config.json and model.safetensors'
        )


def source_of(preset: Preset, weights: str, revision: str) -> Source:
    """The repository that `weights` names, with the licence that its card states.

    Raises:
        WeightsError: there is no such repository or folder, or no network for depth in it.
    """
    return files.source_of(preset, weights, revision)


def load(preset: Preset, options: ModelOptions) -> TransformersModel:
    """Build the network beside whose `config.json` the weights are.

    Raises:
        ConfigError: transformers is missing, or the kind is not known and not stated.
        WeightsError: the folder lacks a file, or holds another network.
    """
    if options.weights is None:
        raise ConfigError(f'{preset.name} needs weights: a hub id or a folder')
    config = files.read_config(options.weights.parent)
    kind = kinds.kind_of(config, options.transformers, options.weights.parent)
    network = files.build(config, options.weights)
    network = network.to(options.device, options.dtype).eval().requires_grad_(False)
    processor = files.build_processor(options.weights.parent)
    log.info(
        '%s: %s of transformers %s, %s by %s', options.weights.parent, type(network).__name__,
        files.import_library().__version__, kind.value,
        'transformers.kind' if options.transformers.kind else 'its type',
    )  # fmt: skip
    return TransformersModel(network, processor, kind, config['model_type'], options)


class TransformersModel(BatchedModel):
    """`DepthModel` of all types.

    Args:
        network: with weights, on `options.device` and in `options.dtype`.
        processor: image processor of the network.
        kind: meaning of the output.
        type_: of the network, as config.json states it.
        options: as given to `load`.
    """

    def __init__(
        self, network: nn.Module, processor: Any, kind: Kind, type_: str, options: ModelOptions
    ) -> None:
        # a network with several heads takes the one that most images of a batch want
        super().__init__(_DepthOf(network, one_by_one=type_ == 'zoedepth'), kind)
        self._processor = processor
        self._is_depth_pro = type_ == 'depth_pro'
        self._described: Transformers = options.transformers
        self._dtype = options.dtype
        post = inspect.signature(processor.post_process_depth_estimation).parameters
        self._takes_source_sizes = 'source_sizes' in post

    def network_input(self, frame: Frame) -> Tensor:
        """The image as the processor prepares it, (3, h, w), in the dtype of the network."""
        try:
            found = self._processor(
                frame.rgb.permute(2, 0, 1), input_data_format='channels_first', return_tensors='pt'
            )
        except Exception as error:  # of torchvision and others
            raise InferenceError(
                f'the image processor fails with an image of {frame.camera.width}x'
                f'{frame.camera.height} ({first_line(error)}); check preprocessor_config.json'
            ) from error
        x: Tensor = found['pixel_values'][0]
        return x.to(frame.rgb.device, self._dtype)

    def postprocess(self, maps: Maps, frame: Frame) -> Prediction:
        """Resize depth (h, w) to (H, W) float32 as the processor does."""
        (output,), camera = maps, frame.camera
        values = self._resized(output.float(), camera.size)
        if self._is_depth_pro:
            return _of_depth_pro(values, frame)
        focal = None
        if self.kind is Kind.CANONICAL:
            h, w = output.shape
            f = self._described.canonical_focal
            focal = f * camera.width / w, f * camera.height / h
        is_inverse = self.kind is Kind.AFFINE_INVERSE
        return Prediction(values if is_inverse else values.clamp(min=0), self.kind, focal_px=focal)

    def _resized(self, output: Tensor, size: tuple[int, int]) -> Tensor:
        if self._is_depth_pro:  # its processor also inverts, with other limits
            resize = nn.functional.interpolate
            return resize(output[None, None], size, mode='bilinear')[0, 0]
        given: dict[str, Any] = {'target_sizes': [size]}
        if self._takes_source_sizes:
            given['source_sizes'] = [size]
        outputs = SimpleNamespace(predicted_depth=output[None])
        found = self._processor.post_process_depth_estimation(outputs, **given)
        values: Tensor = found[0]['predicted_depth']
        return values.reshape(size)


def _of_depth_pro(inverse: Tensor, frame: Frame) -> Prediction:
    """Canonical inverse depth (H, W) -> Z [m] for fx = W; see `models.depth_pro`."""
    w, fx, fy = frame.camera.width, frame.camera.fx, frame.camera.fy
    far, near = FAR * fx / w, NEAR * fx / w
    return Prediction(
        1 / inverse.clamp(far, near),
        Kind.CANONICAL,
        focal_px=(w, w * fy / fx),
        sky=inverse <= far,
    )


class _DepthOf(nn.Module):
    """A network of transformers whose output is its map alone.

    Args:
        network: takes `pixel_values`, gives `predicted_depth`.
        one_by_one: the images of a batch have an effect on each other.
    """

    def __init__(self, network: nn.Module, *, one_by_one: bool) -> None:
        super().__init__()
        self.network = network
        self._one_by_one = one_by_one

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, h', w')."""
        if self._one_by_one and len(x) > 1:
            return torch.cat([self(x[k : k + 1]) for k in range(len(x))])
        try:
            depth: Tensor = self.network(pixel_values=x).predicted_depth
        except (AttributeError, LookupError, TypeError, ValueError) as error:  # not of the device
            raise InferenceError(
                f'{type(self.network).__name__} of transformers gives no depth for an image of '
                f'{x.shape[-1]}x{x.shape[-2]} ({first_line(error)}): check its config.json, or '
                'choose another network'
            ) from error
        return depth.reshape(len(x), *depth.shape[-2:])
