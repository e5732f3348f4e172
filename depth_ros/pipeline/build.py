# SPDX-License-Identifier: Apache-2.0
"""From parameters to a pipeline: device, precision and weights, none of them chosen in silence."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import cv2
import torch

from depth_ros import models
from depth_ros.checkpoints.find import find_weights
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Frame
from depth_ros.models import DepthModel, ModelOptions, Preset, TakesPairs
from depth_ros.parameters.declare import OF_NODE
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.abilities import check_abilities, without_effect
from depth_ros.pipeline.choose_model import resolve
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.engines.compare import SAFER, TOLERANCE, compare
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph
from depth_ros.pipeline.engines.load import load_exported

log = logging.getLogger(__name__)
DTYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
USUAL_SIZE = (640, 480)  #: of a camera, width and height [px]


@dataclass(frozen=True, slots=True)
class Choices:
    """What was chosen for a pipeline; for the log and the diagnostics."""

    model: str
    chosen_by: str
    kind: str
    scaling: str
    device: str
    precision: str
    engine: str
    weights: str
    licence: str
    trial_s: float  #: time of the network for the trial image [s]

    def __str__(self) -> str:
        """All of it in one line."""
        return (
            f'model {self.model} ({self.kind}, scaling {self.scaling}; chosen by '
            f'{self.chosen_by}) by {self.engine} on {self.device} in {self.precision}; weights '
            f'{self.weights}, '
            f'licence: {self.licence}'
        )


Size = tuple[int, int]  #: width and height [px]


def load(
    given: Mapping[str, Any], camera_size: Callable[[], Size | None] = lambda: None
) -> tuple[Pipeline, Choices]:
    """The pipeline for the parameters a user gives, by name; all others have their defaults.

    Chooses the network where `model` is auto, and downloads its weights if need be. Parameters of
    the node are allowed; those that the network does not use are logged.

    Raises:
        ConfigError: parameters that do not exist, cannot work together, or not on this machine.
        WeightsError: a checkpoint that is missing or does not fit.
    """
    _, settings, choice = resolve(given)
    pipeline, choices = build(settings, camera_size, chosen_by=choice.reason)
    for text in without_effect(settings, models.get(choice.name), pipeline.device, has=OF_NODE):
        log.warning('%s', text)
    return pipeline, choices


def build(
    settings: Settings,
    camera_size: Callable[[], Size | None] = lambda: None,
    *,
    chosen_by: str = 'the caller',
) -> tuple[Pipeline, Choices]:
    """The pipeline that `settings` describe, loaded and run once on a trial image.

    Args:
        settings: all parameters; `model` is a preset (`choose_model.resolve` replaces auto).
        camera_size: returns the image size of the running camera, None if it is not known. Called
            only if half precision is compared with fp32.
        chosen_by: who chose the model and why, for log and diagnostics.

    Raises:
        ConfigError: parameters that cannot work together, or not on this machine.
        WeightsError: a checkpoint that is missing or does not fit.
    """
    preset = models.get(settings.model)
    check_abilities(settings, preset)
    device = choose_device(settings.device, preset, settings.engine)
    wanted = choose_precision(settings.precision, device, preset)
    if device.type == 'cpu':
        torch.set_num_threads(settings.threads)
    # an image is decoded in under a millisecond; waking other threads takes longer
    cv2.setNumThreads(1)
    path = find_weights(settings.weights, preset.source, settings.accept_licence)
    options = ModelOptions(
        weights=path,
        device=device,
        threads=settings.threads,
        input_size=settings.input_size,
        max_tokens=settings.max_tokens,
        tile_batch=settings.tile_batch,
        onnx=settings.onnx,
        estimate_camera=settings.intrinsics == 'estimated',
        max_depth=settings.max_depth,
    )
    half = wanted != 'fp32' or settings.engine != 'torch'
    size = camera_size() if half else None
    frame = trial_frame(device, *(size or USUAL_SIZE))
    if settings.engine != 'torch':
        model, engine, precision = load_exported(settings, options, frame)
    else:
        model, precision = load_in(settings.model, options, wanted, frame)
        engine = f'torch {torch.__version__}'
        if settings.cuda_graphs:
            use_cuda_graph(model, device)
    if preset.advice:
        log.info('%s (%s): %s', settings.model, preset.source.licence, preset.advice)
    pipeline = Pipeline(model, settings, device)
    # the first run allocates and compiles: better now than with a frame, and a broken one shows
    with torch.inference_mode():
        started_s = time.monotonic()
        prediction = model.predict(frame)
        pipeline.depth_map(prediction, frame, pipeline.snapshot).ensure_finite()
        trial_s = time.monotonic() - started_s
        if settings.two_views.mode != 'off' and isinstance(model, TakesPairs):
            model.predict_pair(frame, frame)
    choices = Choices(
        model=settings.model,
        chosen_by=chosen_by,
        kind=pipeline.model.kind.value,
        scaling=pipeline.snapshot.scaling.method,
        device=describe(device),
        precision=precision,
        engine=engine,
        weights=str(path) if path else 'none needed',
        licence=preset.source.licence,
        trial_s=trial_s,
    )
    return pipeline, choices


def load_in(
    name: str, options: ModelOptions, precision: str, frame: Frame
) -> tuple[DepthModel, str]:
    """Load the network in the lowest precision that agrees with fp32 on a frame.

    Half precision overflows silently in some networks and on some devices. The first of
    `precision`, bf16 and fp32 whose median difference from fp32 is at most `TOLERANCE` is used.

    Returns:
        The model, and its precision with the difference seen, in words.

    Raises:
        WeightsError: the checkpoint does not fit.
    """

    def load(precision: str) -> DepthModel:
        return models.load(name, dataclasses.replace(options, dtype=DTYPES[precision]))

    if precision == 'fp32':
        return load('fp32'), precision
    size = f'on a trial image of {frame.camera.width}x{frame.camera.height}'
    with torch.inference_mode():
        expected = _if_there_is_room(lambda: load('fp32').predict(frame).values)
        if expected is None:
            why = f'no room on {options.device} for fp32 to compare it with'
            log.warning('%s in %s is unchecked: %s', name, precision, why)
            return load(precision), f'{precision} (unchecked: {why})'
        while precision != 'fp32':
            model = load(precision)
            difference = compare(model.predict(frame).values, expected)
            if difference <= TOLERANCE:
                return model, f'{precision} (median {100 * difference:.2f} % from fp32, {size})'
            log.warning(
                '%s is %.3g %% from fp32 with %s, %s; %s is taken instead',
                name, 100 * difference, precision, size, SAFER[precision],
            )  # fmt: skip
            precision = SAFER[precision]
    return load('fp32'), f'fp32 (half precision is broken for {name} on {options.device})'


def _if_there_is_room(action: Callable[[], torch.Tensor]) -> torch.Tensor | None:
    """What it returns; None if the GPU has not the memory, which is given back."""
    try:
        return action()
    except torch.cuda.OutOfMemoryError as error:
        error.__traceback__ = None  # it holds what was loaded
    torch.cuda.empty_cache()
    return None


def trial_frame(
    device: torch.device, width: int = USUAL_SIZE[0], height: int = USUAL_SIZE[1]
) -> Frame:
    """An image with structure, and a typical camera."""
    noise = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 3, 7, 9), generator=noise)
    fine = torch.rand((1, 3, height, width), generator=noise)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode='bicubic')
    image = ((0.85 * smooth + 0.15 * fine).clamp(0, 1) * 255).to(torch.uint8)
    camera = Camera(width, height, 0.82 * width, 0.82 * width, width / 2 - 0.5, height / 2 - 0.5)
    return Frame(image[0].permute(1, 2, 0).contiguous().to(device), camera)


def describe(device: torch.device) -> str:
    """The device with the name of its maker."""
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else ''
    return f'{device} ({name})' if name else str(device)


def choose_device(name: str, preset: Preset, engine: str = 'torch') -> torch.device:
    """`auto` takes the first GPU if the family can use it; else a name is taken at its word.

    Raises:
        ConfigError: the name is no device, or the machine does not have it.
    """
    if engine != 'torch':
        if name not in ('auto', 'cpu'):
            raise ConfigError(
                f'device is {name!r} but engine {engine!r} runs networks on the CPU: set device '
                "to auto, or engine to 'torch'"
            )
        return torch.device('cpu')
    if name == 'auto':
        device = torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')
        family = import_module(f'depth_ros.models.{preset.family}')
        if not getattr(family, 'runs_on', lambda _: True)(device):
            log.warning('%s cannot use %s here; cpu is taken', preset.family, device)
            return torch.device('cpu')
        return device
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
        ConfigError: the preset cannot run in that precision.
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
