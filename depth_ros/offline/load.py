# SPDX-License-Identifier: Apache-2.0
"""The pipeline for recorded images; parameters without effect on them are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from depth_ros import models
from depth_ros.core.errors import ConfigError
from depth_ros.parameters import layers
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.abilities import without_effect
from depth_ros.pipeline.build import Choices, Size, build
from depth_ros.pipeline.choose_model import resolve
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.floor import check_floor


def check(values: Mapping[str, Any]) -> Settings:
    """Refuse what cannot work, before a network is chosen and loaded, which takes longer.

    Args:
        values: parameters that were given, by name.

    Returns:
        The parameters, where `model` may still be auto.

    Raises:
        ConfigError: names the parameter, and the remedy.
    """
    asked: Settings = layers.with_values(Settings(), values)
    check_floor(asked)
    if asked.two_views.mode != 'off':
        raise ConfigError(
            f'two_views.mode is {asked.two_views.mode!r}; recorded images are taken one at a '
            'time, so it must be off'
        )
    by_name = asked.model != 'auto'
    _refuse(without_effect(asked, models.get(asked.model) if by_name else None, node=False))
    return asked


def load(
    values: Mapping[str, Any], camera_size: Callable[[], Size | None] = lambda: None
) -> tuple[Pipeline, Choices]:
    """Choose the network, and build its pipeline.

    Args:
        values: parameters that were given, by name, checked.
        camera_size: width and height [px] of the images, where they are known.

    Raises:
        DepthRosError: as of `pipeline.build.build`, and for parameters without effect.
    """
    _, settings, choice = resolve(values)
    preset = models.get(choice.name)
    _refuse(without_effect(settings, preset, node=False))
    pipeline, choices = build(settings, camera_size, chosen_by=choice.reason)
    _refuse(without_effect(settings, preset, pipeline.device, node=False))
    return pipeline, choices


def _refuse(reasons: list[str]) -> None:
    if reasons:
        raise ConfigError('; '.join(reasons))
