# SPDX-License-Identifier: Apache-2.0
"""A user's network in an ONNX file, described by the parameters `onnx.*` (see settings.Onnx).

Input: (1, 3, h, w) normalised RGB. Output: h x w values of the stated kind; further axes must have
length 1. For a network trained with one camera, the image is resampled to that camera and the
output back; pixels outside of the image of that camera are NaN.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, InferenceError, WeightsError
from depth_ros.core.resample import depth_to_camera, to_camera
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.parameters.settings import Onnx


class OnnxModel:
    """`DepthModel` that runs an onnxruntime session.

    Args:
        session: of the network.
        description: values of the parameters `onnx.*`.
        size: (h, w) of the network input.
        device: device of the frames.
    """

    def __init__(
        self, session: Any, description: Onnx, size: tuple[int, int], device: torch.device
    ) -> None:
        self.kind = Kind(description.kind)
        self.session = session
        self.description = description
        self.height, self.width = size
        self.input_name = session.get_inputs()[0].name
        self.mean = torch.tensor(description.mean, device=device)[:, None, None]
        self.std = torch.tensor(description.std, device=device)[:, None, None]

    def predict(self, frame: Frame) -> Prediction:
        """Predict depth for every pixel of a frame.

        Args:
            frame: undistorted, (H, W), on the device given to `load`.

        Returns:
            Prediction of `self.kind` with (H, W) float32 values; NaN outside of the image of the
            training camera.

        Raises:
            InferenceError: the output of the network is no map of one channel.
        """
        inner = self._network_camera(frame.camera)
        rgb = frame.rgb.permute(2, 0, 1).to(torch.float32) / 255  # (3, H, W)
        x = (to_camera(rgb, frame.camera, inner, 'area') - self.mean) / self.std  # (3, h, w)
        (output, *_) = self.session.run(None, {self.input_name: x[None].cpu().numpy()})
        values = torch.from_numpy(_to_map(output)).to(rgb)  # (h', w'), may differ from (h, w)
        output_camera = inner.resized(values.shape[1], values.shape[0])
        values = depth_to_camera(values, output_camera, frame.camera)
        focal = self.description.canonical_focal
        scale_x, scale_y = frame.camera.fx / inner.fx, frame.camera.fy / inner.fy
        focal_px = (focal * scale_x, focal * scale_y) if self.kind is Kind.CANONICAL else None
        return Prediction(values, self.kind, focal_px)

    def _network_camera(self, camera: Camera) -> Camera:
        """Camera of the network input: the training camera, or `camera` resized and padded."""
        if any(self.description.training_camera):
            fx, fy, cx, cy = self.description.training_camera
            return Camera(self.width, self.height, fx, fy, cx, cy)
        # the whole image, centred, with its aspect ratio; the border repeats its edge pixels
        s = min(self.width / camera.width, self.height / camera.height)
        return dataclasses.replace(
            camera,
            width=self.width,
            height=self.height,
            fx=camera.fx * s,
            fy=camera.fy * s,
            cx=(camera.cx + 0.5) * s - 0.5 + (self.width - camera.width * s) / 2,
            cy=(camera.cy + 0.5) * s - 0.5 + (self.height - camera.height * s) / 2,
        )


def runs_on(device: torch.device) -> bool:
    """Whether the installed onnxruntime supports `device`; used by `device: auto`."""
    try:
        import onnxruntime
    except ImportError:
        return True  # `load` reports what is missing
    providers = onnxruntime.get_available_providers()
    return device.type == 'cpu' or 'CUDAExecutionProvider' in providers


def load(preset: Preset, options: ModelOptions) -> OnnxModel:
    """Open an ONNX file and check that it matches its description.

    Raises:
        ConfigError: the description is inconsistent, or onnxruntime is missing or does not support
            the device.
        WeightsError: the file is no ONNX network with one image as input.
    """
    if options.weights is None:
        raise WeightsError('weights is empty; set it to the .onnx file of your network')
    description = options.onnx
    _check(description)
    session = _session(options.weights, options)
    shape = list(session.get_inputs()[0].shape)
    if (
        len(session.get_inputs()) != 1
        or len(shape) != 4
        or (shape[1] not in (3, None) and not isinstance(shape[1], str))
    ):
        raise WeightsError(
            f'{options.weights} takes {[(i.name, i.shape) for i in session.get_inputs()]}; '
            'a depth network here takes one input (1, 3, height, width)'
        )
    width, height = description.input_size
    fixed = [n if isinstance(n, int) else 0 for n in shape[2:]]
    if (height and fixed[0] and height != fixed[0]) or (width and fixed[1] and width != fixed[1]):
        raise ConfigError(
            f'onnx.input_size is {width}x{height} but {options.weights.name} is made for '
            f'{fixed[1]}x{fixed[0]}; set it to that or to [0, 0]'
        )
    size = height or fixed[0], width or fixed[1]
    if not all(size):
        raise ConfigError(
            f'{options.weights.name} takes any size; set onnx.input_size to [width, height]'
        )
    return OnnxModel(session, description, size, options.device)


def _check(description: Onnx) -> None:
    lengths = {'input_size': 2, 'mean': 3, 'std': 3, 'training_camera': 4}
    for name, n in lengths.items():
        value = getattr(description, name)
        if len(value) != n:
            raise ConfigError(f'onnx.{name} is {list(value)}; it takes {n} numbers')
    if not all(description.std):
        raise ConfigError(f'onnx.std is {list(description.std)}; it divides, so no value can be 0')
    if description.kind == 'canonical' and not description.canonical_focal:
        raise ConfigError('onnx.kind is canonical: set onnx.canonical_focal [px at input size]')
    if description.kind != 'canonical' and description.canonical_focal:
        raise ConfigError(
            f'onnx.canonical_focal is set but onnx.kind is {description.kind}; '
            'set the kind to canonical'
        )


def _session(path: Path, options: ModelOptions) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            'model family onnx needs onnxruntime: pip install onnxruntime'
        ) from error
    provider = 'CPUExecutionProvider'
    if options.device.type == 'cuda':
        provider = 'CUDAExecutionProvider'
        if provider not in onnxruntime.get_available_providers():
            raise ConfigError(
                f'device is {options.device} but this onnxruntime has only '
                f'{onnxruntime.get_available_providers()}: pip install onnxruntime-gpu, '
                'or set device to cpu'
            )
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session_options.log_severity_level = 3  # errors only
    index = options.device.index or 0
    providers = [(provider, {'device_id': index}) if provider.startswith('CUDA') else provider]
    try:
        return onnxruntime.InferenceSession(str(path), session_options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise WeightsError(
            f'{path} is not an ONNX network that onnxruntime can open: {error}'
        ) from error


def _to_map(output: np.ndarray) -> np.ndarray:
    """Remove axes of length 1: the output as (h, w) float32."""
    shape = tuple(n for n in output.shape if n != 1)
    if len(shape) != 2:
        raise InferenceError(
            f'the output of the network is {output.shape}; a depth map is (1, 1, height, width)'
        )
    return np.ascontiguousarray(output.reshape(shape), np.float32)
