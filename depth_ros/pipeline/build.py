# SPDX-License-Identifier: Apache-2.0
"""From parameters to a pipeline: device, precision and weights, none of them chosen in silence."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import torch

from depth_ros import models
from depth_ros.checkpoints.adapted import card_for
from depth_ros.checkpoints.find import find_weights
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Frame
from depth_ros.models import ModelOptions, TakesViews
from depth_ros.parameters.declare import OF_NODE
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.abilities import check_abilities, without_effect
from depth_ros.pipeline.choose_model import resolve
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.device import choose_device, describe
from depth_ros.pipeline.engines import TORCH, Target
from depth_ros.pipeline.engines.in_torch import load_in
from depth_ros.pipeline.engines.load import load_fastest
from depth_ros.pipeline.engines.targets import targets
from depth_ros.pipeline.trial_frame import USUAL_SIZE, trial_frame
from depth_ros.pipeline.wide import WIDE

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choices:
    """What was chosen for a pipeline; for the log and the diagnostics."""

    model: str
    chosen_by: str
    kind: str
    scaling: str
    device: str
    precision: str  #: with its difference from fp32
    engine: str  #: with its version
    target: Target
    weights: str
    adapted: str  #: when and to what; '' if the weights were not adapted
    licence: str
    trial_s: float  #: time of the network for the trial image [s]

    def engine_values(self) -> dict[str, str]:
        """The parameters with which another machine chooses the same."""
        return {
            'engine': self.target.engine,
            'precision': self.target.precision,
        }

    def __str__(self) -> str:
        """All of it in one line."""
        return (
            f'model {self.model} ({self.kind}, scaling {self.scaling}; chosen by '
            f'{self.chosen_by}) by {self.engine} on {self.device} in {self.precision}; weights '
            f'{self.weights}, {f"{self.adapted}, " if self.adapted else ""}'
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
    live: bool = False,
) -> tuple[Pipeline, Choices]:
    """The pipeline that `settings` describe, loaded and run once on a trial image.

    Args:
        settings: all parameters; `model` is a preset (`choose_model.resolve` replaces auto).
        camera_size: returns the image size of the running camera, None if it is not known. Called
            only if networks are compared or measured.
        chosen_by: who chose the model and why, for log and diagnostics.
        live: images come from a camera, of sizes that are not known yet.

    Raises:
        ConfigError: parameters that cannot work together, or not on this machine.
        WeightsError: a checkpoint that is missing or does not fit.
    """
    preset = models.get(settings.model)
    check_abilities(settings, preset)
    models.check_libraries(preset, settings.weights)
    device = choose_device(settings.device, preset, settings.weights)
    possible = targets(settings, preset, device)
    if device.type == 'cpu':
        torch.set_num_threads(settings.threads)
    # an image is decoded in under a millisecond; waking other threads takes longer
    cv2.setNumThreads(1)
    source = models.source_of(preset, settings.weights, settings.transformers.revision)
    path = find_weights(settings.weights, source, settings.accept_licence)
    card = card_for(preset.name, path)
    options = ModelOptions(
        weights=path,
        device=device,
        threads=settings.threads,
        input_size=settings.input_size,
        max_tokens=settings.max_tokens,
        tile_batch=settings.tile_batch,
        onnx=settings.onnx,
        transformers=settings.transformers,
        estimate_camera=settings.intrinsics == 'estimated',
        views=settings.two_views.at_once,
        normals=settings.normals,
        max_depth=settings.max_depth,
    )
    plain = len(possible) == 1 and possible[0].engine == TORCH
    size = None if plain and possible[0].precision == 'fp32' else camera_size()
    size = size or USUAL_SIZE
    if settings.undistort.projection == WIDE:
        size = (min(size), min(size))  # engines prepare for one input size, and tiles are square
    frame = trial_frame(device, *size)
    graphs = settings.cuda_graphs
    if plain:
        loaded = load_in(possible[0], settings.model, options, frame, cuda_graphs=graphs)
    else:
        loaded = load_fastest(
            settings.model, options, possible, frame, cuda_graphs=graphs, live=live
        )
    if preset.advice and card is None:  # it is for the published weights
        log.info('%s (%s): %s', settings.model, source.licence, preset.advice)
    model, target = loaded.model, loaded.target
    pipeline = Pipeline(model, settings, device)
    # the first run allocates and compiles: better now than with a frame, and a broken one shows
    with torch.inference_mode():
        started_s = time.monotonic()
        prediction = model.predict(frame)
        pipeline.depth_map(prediction, frame, pipeline.snapshot).ensure_finite()
        trial_s = time.monotonic() - started_s
        if settings.two_views.mode != 'off' and isinstance(model, TakesViews):
            try_views(model, [frame] * settings.two_views.at_once)
    choices = Choices(
        model=settings.model,
        chosen_by=chosen_by,
        kind=pipeline.model.kind.value,
        scaling=pipeline.snapshot.scaling.method,
        device=describe(device) if target.device == str(device) else target.device,
        precision=loaded.precision,
        engine=loaded.engine,
        target=target,
        weights=str(path) if path else 'none needed',
        adapted=str(card or ''),
        licence=card.licence if card else source.licence,
        trial_s=trial_s,
    )
    return pipeline, choices


def try_views(model: TakesViews, frames: list[Frame]) -> None:
    """Run the network on as many views as it will get.

    Raises:
        ConfigError: the GPU has not the memory for so many.
    """
    try:
        model.predict_views(frames)
    except torch.cuda.OutOfMemoryError as error:
        raise ConfigError(
            f'two_views.views is {len(frames)}, but {frames[0].rgb.device} has no memory for so '
            'many: lower it, or input_size'
        ) from error
