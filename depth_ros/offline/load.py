# SPDX-License-Identifier: Apache-2.0
"""The pipeline for recorded images; parameters without effect on them are refused."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from depth_ros import models
from depth_ros.core.errors import ConfigError
from depth_ros.offline.bag import Bag
from depth_ros.offline.inputs import Input, Unreadable
from depth_ros.parameters import layers
from depth_ros.parameters.declare import BAG, WRITTEN_BAG
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.abilities import check_sources, without_effect
from depth_ros.pipeline.build import Choices, Size, build
from depth_ros.pipeline.choose_model import resolve
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.floor import check_floor


def has(inputs: Iterable[Input], *, written: bool = False) -> frozenset[str]:
    """What parameters can need that there is; see `parameters.declare`.

    Args:
        inputs: the recordings.
        written: bags are written.
    """
    of_bags = {BAG, WRITTEN_BAG} if written else {BAG}
    return frozenset(of_bags if all(isinstance(one, Bag | Unreadable) for one in inputs) else ())


def check(values: Mapping[str, Any], there: Container[str] = ()) -> Settings:
    """Refuse what cannot work, before a network is chosen and loaded, which takes longer.

    Args:
        values: parameters that were given, by name.
        there: of `has`.

    Returns:
        The parameters, where `model` may still be auto.

    Raises:
        ConfigError: names the parameter, and the remedy.
    """
    asked: Settings = layers.with_values(Settings(), values)
    if BAG in there:
        check_sources(asked)
    else:
        check_floor(asked)
    if asked.two_views.mode != 'off':
        raise ConfigError(
            f'two_views.mode is {asked.two_views.mode!r}; recorded images are taken one at a '
            'time, so it must be off'
        )
    by_name = asked.model != 'auto'
    _refuse(without_effect(asked, models.get(asked.model) if by_name else None, has=there))
    return asked


def load(
    values: Mapping[str, Any],
    there: Container[str] = (),
    camera_size: Callable[[], Size | None] = lambda: None,
) -> tuple[Pipeline, Choices]:
    """Choose the network, and build its pipeline.

    Args:
        values: parameters that were given, by name, checked.
        there: of `has`.
        camera_size: width and height [px] of the images, where they are known.

    Raises:
        DepthRosError: as of `pipeline.build.build`, and for parameters without effect.
    """
    _, settings, choice = resolve(values)
    preset = models.get(choice.name)
    _refuse(without_effect(settings, preset, has=there))
    pipeline, choices = build(settings, camera_size, chosen_by=choice.reason)
    _refuse(without_effect(settings, preset, pipeline.device, has=there))
    return pipeline, choices


def _refuse(reasons: list[str]) -> None:
    if reasons:
        raise ConfigError('; '.join(reasons))
