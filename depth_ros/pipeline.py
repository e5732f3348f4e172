# SPDX-License-Identifier: Apache-2.0
"""One frame's way: undistort -> network -> metres -> range. Everything stays on the device."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import cv2
import torch

from depth_ros import models, weights
from depth_ros.camera import Camera
from depth_ros.data import DepthMap, Frame, Prediction
from depth_ros.errors import ConfigError, InferenceError
from depth_ros.geometry import undistort
from depth_ros.models import DepthModel, ModelOptions, Preset
from depth_ros.scaling import Scaling
from depth_ros.settings import Settings

log = logging.getLogger(__name__)
DTYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


class Pipeline:
    """A network and what makes its answer a depth image.

    Raises:
        ConfigError: the scaling method does not fit the network; raised here, not per frame.
    """

    def __init__(
        self, model: DepthModel, settings: Settings, device: torch.device | None = None
    ) -> None:
        """Check that model and settings fit; `device` is where frames must be, CPU if absent."""
        self.model = model
        self.device = device or torch.device('cpu')
        self.update(settings)

    def update(self, settings: Settings) -> None:
        """Take settings that changed while running.

        Raises:
            ConfigError: they do not fit the network; the old ones stay.
        """
        self.scaling = Scaling(settings.scaling, self.model.kind)
        self.settings = settings

    @torch.inference_mode()
    def __call__(self, frame: Frame) -> DepthMap:
        """Depth of a frame.

        Returns:
            (H, W) metres for the undistorted camera: NaN invalid, +Inf sky or beyond range.max,
            -Inf nearer than range.min (REP 117); never 0.

        Raises:
            InferenceError: the network's answer is not of the frame's size or has no number in it.
        """
        frame, seen = undistort(frame)
        prediction = self.model.predict(frame)
        _check(prediction, frame)
        z = self.scaling(prediction, frame.camera)
        near, far = self.settings.range.min, self.settings.range.max
        inf, nan = torch.inf, torch.nan
        z = torch.where(z > 0, z, nan)  # zero is no depth (REP 118)
        z = torch.where(z < near, -inf, z)
        if far > 0:
            z = torch.where(z > far, inf, z)
        if prediction.sky is not None:
            z = torch.where(prediction.sky, inf, z)
        if self.settings.min_confidence > 0 and prediction.confidence is not None:
            z = torch.where(prediction.confidence < self.settings.min_confidence, nan, z)
        if seen is not None:
            z = torch.where(seen, z, nan)
        return DepthMap(z, frame.camera, frame.rgb, prediction.confidence)


def _check(prediction: Prediction, frame: Frame) -> None:
    if tuple(prediction.values.shape) != frame.camera.size:
        raise InferenceError(
            f'the network answered {tuple(prediction.values.shape)} for a frame of '
            f'{frame.camera.size}: it is not a depth map of this picture'
        )
    if not torch.isfinite(prediction.values).any():
        raise InferenceError(
            'the network answered no finite number at all; with fp16 try precision fp32 or bf16, '
            'otherwise the checkpoint is broken'
        )


@dataclass(frozen=True, slots=True)
class Choices:
    """What was chosen for a pipeline; for the log and the diagnostics."""

    model: str
    kind: str
    scaling: str
    device: str
    precision: str
    weights: str
    licence: str

    def __str__(self) -> str:
        """All of it in one line."""
        return (
            f'model {self.model} ({self.kind}, scaling {self.scaling}) on {self.device} in '
            f'{self.precision}; weights {self.weights}, licence: {self.licence}'
        )


def build(settings: Settings) -> tuple[Pipeline, Choices]:
    """The pipeline that `settings` describe, loaded and run once on a grey picture.

    Raises:
        ConfigError: parameters that cannot work together, or not on this machine.
        WeightsError: a checkpoint that is missing or does not fit.
    """
    preset = models.get(settings.model)
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device, preset)
    if device.type == 'cpu':
        torch.set_num_threads(settings.threads)
    # a picture is decoded in under a millisecond; waking other threads for it takes longer
    cv2.setNumThreads(1)
    path = weights.locate(settings.weights, preset)
    options = ModelOptions(
        weights=path,
        device=device,
        dtype=DTYPES[precision],
        threads=settings.threads,
        input_size=settings.input_size,
        max_tokens=settings.max_tokens,
        onnx=settings.onnx,
    )
    pipeline = Pipeline(models.load(settings.model, options), settings, device)
    # the first run allocates and compiles: better now than with a frame, and a broken one shows
    grey = torch.full((480, 640, 3), 128, dtype=torch.uint8, device=device)
    pipeline(Frame(grey, Camera(640, 480, 525.0, 525.0, 319.5, 239.5)))
    choices = Choices(
        model=settings.model,
        kind=pipeline.model.kind.value,
        scaling=pipeline.scaling.method,
        device=f'{device} ({torch.cuda.get_device_name(device)})'
        if device.type == 'cuda'
        else 'cpu',
        precision=precision,
        weights=str(path) if path else 'none needed',
        licence=preset.licence,
    )
    return pipeline, choices


def choose_device(name: str) -> torch.device:
    """`auto` takes the first GPU if there is one; anything else is taken at its word.

    Raises:
        ConfigError: the name is no device, or the machine does not have it.
    """
    if name == 'auto':
        return torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')
    kind, _, index = name.partition(':')
    if kind not in ('cpu', 'cuda') or (index and not index.isdigit()) or name == 'cuda:':
        raise ConfigError(f'device is {name!r}; it is auto, cpu, cuda or cuda:N')
    if kind == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise ConfigError(
                f'device is {name!r} but torch {torch.__version__} sees {count} GPUs; '
                'set device to auto or cpu, or install a torch that fits the driver (nvidia-smi)'
            )
        return torch.device('cuda', int(index or 0))
    return torch.device('cpu')


def choose_precision(name: str, device: torch.device, preset: Preset) -> str:
    """`auto` is fp16 on a GPU and fp32 on a CPU; families with their own arithmetic stay at fp32.

    Raises:
        ConfigError: the preset cannot be run in the precision asked for.
    """
    if not preset.casts:
        if name in ('auto', 'fp32'):
            return 'fp32'
        raise ConfigError(
            f'precision is {name!r} but family {preset.family!r} computes in its own; '
            'set it to auto'
        )
    if name == 'auto':
        return 'fp16' if device.type == 'cuda' else 'fp32'
    return name
