# SPDX-License-Identifier: Apache-2.0
"""A network of your own in an ONNX file, described by the parameters `onnx.*` (see settings.Onnx).

Input (1, 3, h, w) RGB, normalised; output h x w numbers of the stated kind, axes of 1 allowed. A
network trained with one camera is shown what that camera would have seen, and its depth is brought
back to the pixels it belongs to; pixels outside that camera's view are NaN.
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
    """An onnxruntime session behind the interface of the other families."""

    def __init__(
        self, session: Any, described: Onnx, size: tuple[int, int], device: torch.device
    ) -> None:
        """Take a session whose input is `size` (h, w)."""
        self.kind = Kind(described.kind)
        self.session = session
        self.described = described
        self.height, self.width = size
        self.input_name = session.get_inputs()[0].name
        self.mean = torch.tensor(described.mean, device=device)[:, None, None]
        self.std = torch.tensor(described.std, device=device)[:, None, None]

    def predict(self, frame: Frame) -> Prediction:
        """(H, W) in the network's unit; NaN where the training camera did not look."""
        seen = self._input_camera(frame.camera)
        rgb = frame.rgb.permute(2, 0, 1).to(torch.float32) / 255  # (3, H, W)
        x = (to_camera(rgb, frame.camera, seen, 'area') - self.mean) / self.std  # (3, h, w)
        (answer, *_) = self.session.run(None, {self.input_name: x[None].cpu().numpy()})
        values = torch.from_numpy(_picture(answer)).to(rgb)  # (h', w'), of the same view as x
        seen_there = seen.resized(values.shape[1], values.shape[0])
        values = depth_to_camera(values, seen_there, frame.camera)
        focal = self.described.canonical_focal
        zoom_x, zoom_y = frame.camera.fx / seen.fx, frame.camera.fy / seen.fy
        focal_px = (focal * zoom_x, focal * zoom_y) if self.kind is Kind.CANONICAL else None
        return Prediction(values, self.kind, focal_px)

    def _input_camera(self, camera: Camera) -> Camera:
        """The pinhole whose picture the network is given."""
        if any(self.described.training_camera):
            fx, fy, cx, cy = self.described.training_camera
            return Camera(self.width, self.height, fx, fy, cx, cy)
        # the whole picture, aspect kept, centred; the rest of the input repeats the picture's edge
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
    """Whether this onnxruntime can; what `device: auto` asks."""
    try:
        import onnxruntime
    except ImportError:
        return True  # `load` says what is missing
    providers = onnxruntime.get_available_providers()
    return device.type == 'cpu' or 'CUDAExecutionProvider' in providers


def load(preset: Preset, options: ModelOptions) -> OnnxModel:
    """Open the file and check it against its description.

    Raises:
        ConfigError: the description cannot be right, or onnxruntime lacks what is asked for.
        WeightsError: the file is no ONNX network with one image in and one map out.
    """
    if options.weights is None:
        raise WeightsError("weights is empty: set it to your network's .onnx file")
    described = options.onnx
    _check(described)
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
    width, height = described.input_size
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
    return OnnxModel(session, described, size, options.device)


def _check(described: Onnx) -> None:
    lengths = {'input_size': 2, 'mean': 3, 'std': 3, 'training_camera': 4}
    for name, n in lengths.items():
        value = getattr(described, name)
        if len(value) != n:
            raise ConfigError(f'onnx.{name} is {list(value)}; it takes {n} numbers')
    if not all(described.std):
        raise ConfigError(f'onnx.std is {list(described.std)}; a zero cannot divide')
    if described.kind == 'canonical' and not described.canonical_focal:
        raise ConfigError('onnx.kind is canonical: set onnx.canonical_focal [px at input size]')
    if described.kind != 'canonical' and described.canonical_focal:
        raise ConfigError(
            f'onnx.canonical_focal is set but onnx.kind is {described.kind}; '
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
    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads = options.threads
    how.log_severity_level = 3
    index = options.device.index or 0
    providers = [(provider, {'device_id': index}) if provider.startswith('CUDA') else provider]
    try:
        return onnxruntime.InferenceSession(str(path), how, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise WeightsError(
            f'{path} is not an ONNX network that onnxruntime can open: {error}'
        ) from error


def _picture(answer: np.ndarray) -> np.ndarray:
    """The output as (h, w) float32."""
    shape = tuple(n for n in answer.shape if n != 1)
    if len(shape) != 2:
        raise InferenceError(
            f'the network answered {answer.shape}; a depth map is (1, 1, height, width)'
        )
    return np.ascontiguousarray(answer.reshape(shape), np.float32)
