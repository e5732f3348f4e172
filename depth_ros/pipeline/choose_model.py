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

log = logging.getLogger(__name__)

WITH_GPU = 'depth_anything_v3_metric_large'
WITHOUT_GPU = 'depth_anything_v2_metric_indoor_small'
WITHOUT_WEIGHTS = 'nano'


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

    auto takes `WITH_GPU` or `WITHOUT_GPU` and downloads its weights where they are not at hand.
    Where that fails it takes `WITHOUT_WEIGHTS`, with a warning.

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
    gpu = settings.device.startswith('cuda') or (
        settings.device == 'auto' and torch.cuda.is_available()
    )
    preset = models.get(WITH_GPU if gpu else WITHOUT_GPU)
    check_abilities(settings, preset)
    reason = f'model auto, {"with" if gpu else "without"} a GPU'
    try:
        find_weights('', preset.source)
    except WeightsError as error:
        log.warning(
            'model is auto, but the weights of %s are not available (%s). %s is used instead: it '
            'has seen synthetic images only, its metres in a real scene are rough. Do not use it '
            'for navigation. Connect this machine to the internet once, or set model and weights',
            preset.name, error, WITHOUT_WEIGHTS,
        )  # fmt: skip
        return ModelChoice(WITHOUT_WEIGHTS, f'{reason}, weights of {preset.name} not available')
    log.info(
        'model is auto: %s, for a machine %s a GPU', preset.name, 'with' if gpu else 'without'
    )
    return ModelChoice(preset.name, reason)
