# SPDX-License-Identifier: Apache-2.0
"""Which network runs where the parameter `model` is auto, and the values of all parameters."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from depth_ros import models
from depth_ros.checkpoints.find import find_weights
from depth_ros.core.errors import ConfigError, WeightsError
from depth_ros.parameters import layers
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.abilities import check_abilities
from depth_ros.pipeline.device import is_of_openvino
from depth_ros.pipeline.engines import TORCH

log = logging.getLogger(__name__)

WITH_GPU = 'depth_anything_v3_metric_large'
WITHOUT_GPU = 'fastdepth_nyu'  #: in milliseconds on one thread, where OpenVINO is installed
WITHOUT_OPENVINO = 'depth_anything_v2_metric_indoor_small'
WITHOUT_WEIGHTS = 'nano'
FOR_VIEWS = 'depth_anything_v3_small'  #: with two_views; no other one may be used commercially
INDOORS = (
    'It was trained indoors, and sees 59 x 46 degrees of the image. For streets, a wider view or '
    f'more detail, in seconds instead of milliseconds, set model to {WITHOUT_OPENVINO} or another '
    'of docs/networks.md'
)


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The preset to load.

    Args:
        name: of the preset.
        reason: who chose it and why, for log and diagnostics.
    """

    name: str
    reason: str


def resolve(given: Mapping[str, Any]) -> tuple[dict[str, Any], Settings, ModelChoice]:
    """Choose the network and complete the parameters.

    Args:
        given: values the user gave, by name.

    Returns:
        The value of every parameter, where `model` is still what the user gave; the same as
        `Settings`, where `model` is the chosen preset; and the choice.

    Raises:
        ConfigError: a name is no parameter, a value is out of range, or the network cannot do what
            is asked.
    """
    choice = choose_model(layers.with_values(Settings(), given))
    values = layers.layered(given, choice.name)
    return values, layers.with_values(Settings(), values | {'model': choice.name}), choice


def choose_model(settings: Settings) -> ModelChoice:
    """The preset that `settings.model` names; for auto one that fits this machine.

    auto takes `WITH_GPU`, or without a GPU `WITHOUT_GPU` where OpenVINO is installed and else
    `WITHOUT_OPENVINO`. It downloads the weights where they are not at hand. Where that fails it
    takes the next of these, and at last `WITHOUT_WEIGHTS` with a warning. With `two_views.mode` it
    takes `FOR_VIEWS`, in whose place no other one can be used.

    Raises:
        ConfigError: model is auto with weights of the user's, or the network that auto takes
            cannot do what is asked.
    """
    if settings.model != 'auto':
        return ModelChoice(settings.model, 'the parameter model')
    if settings.weights:
        raise ConfigError(
            f"weights is {settings.weights!r} but model is 'auto': set model to the preset that "
            'the weights are for (depth-ros info FILE names it)'
        )
    if settings.two_views.mode != 'off':
        check_abilities(settings, models.get(FOR_VIEWS))
        reason = f'model auto, two_views.mode {settings.two_views.mode}'
        log.info('%s: %s, which takes several views', reason, FOR_VIEWS)
        return ModelChoice(FOR_VIEWS, reason)
    gpu = settings.device.startswith('cuda') or (
        settings.device == 'auto' and torch.cuda.is_available()
    )
    reason = f'model auto, {"with" if gpu else "without"} a GPU'
    missing = {}
    for name in (WITH_GPU,) if gpu else (WITHOUT_GPU, WITHOUT_OPENVINO):
        preset = models.get(name)
        check_abilities(settings, preset)
        if name == WITHOUT_GPU and not _leaves_arithmetic(settings):
            continue
        try:
            models.check_libraries(preset, '')
        except ConfigError as error:
            log.info('model is auto, but not %s: %s', name, error)
            continue
        try:
            find_weights('', preset.source)
        except WeightsError as error:
            missing[name] = str(error)
            continue
        log.info(
            'model is auto: %s, for a machine %s a GPU%s', name, 'with' if gpu else 'without',
            f'. {INDOORS}' if name == WITHOUT_GPU else '',
        )  # fmt: skip
        return ModelChoice(name, reason)
    log.warning(
        'model is auto, but the weights of %s are not available (%s). %s is used instead: it '
        'has seen synthetic images only, its metres in a real scene are rough. Do not use it '
        'for navigation. Connect this machine to the internet once, or set model and weights',
        ' and '.join(missing), '; '.join(missing.values()), WITHOUT_WEIGHTS,
    )  # fmt: skip
    unavailable = f'weights of {" and ".join(missing)} not available'
    return ModelChoice(WITHOUT_WEIGHTS, f'{reason}, {unavailable}')


def _leaves_arithmetic(settings: Settings) -> bool:
    """Whether a network of integers, run by one library only, is what the parameters allow."""
    return (
        settings.engine in ('auto', TORCH)
        and settings.precision in ('auto', 'fp32')
        and not is_of_openvino(settings.device)
    )
