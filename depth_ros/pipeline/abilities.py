# SPDX-License-Identifier: Apache-2.0
"""Whether the network of a preset supports the requested settings."""

from __future__ import annotations

from collections.abc import Container
from operator import attrgetter

import torch

from depth_ros import models
from depth_ros.core.errors import ConfigError
from depth_ros.models import Preset
from depth_ros.parameters.anchors import SOURCES
from depth_ros.parameters.declare import ABILITIES, BAG, CPU, NODE, WRITTEN_BAG
from depth_ros.parameters.layers import Parameter, parameters
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.scaling import Scaling
from depth_ros.pipeline.wide import check_wide

#: why a parameter has no effect, by what it needs
ONLY = {
    NODE: 'only depth_node uses it',
    BAG: 'only depth_node and bags use it',
    WRITTEN_BAG: 'only depth_node and written bags use it',
}


def check_abilities(settings: Settings, preset: Preset) -> None:
    """Refuse what the preset's network does not support, before anything is downloaded.

    Raises:
        ConfigError: with the presets that can.
    """
    if settings.intrinsics == 'estimated' and not preset.estimates_camera:
        raise ConfigError(
            f"intrinsics is 'estimated' but {settings.model!r} cannot estimate a camera from its "
            f'image; presets that can: {models.presets_where(lambda p: p.estimates_camera)}. '
            "Or calibrate the camera and set intrinsics to 'camera_info'."
        )
    check_wide(settings, preset.kind)
    two_views = settings.two_views.mode != 'off'
    if settings.intrinsics == 'estimated' and two_views:
        raise ConfigError(
            f"intrinsics is 'estimated' and two_views.mode {settings.two_views.mode!r}: a pose in "
            "metres needs calibrated cameras; set intrinsics to 'camera_info'"
        )
    if two_views and preset.max_views == 1:
        raise ConfigError(
            f'two_views.mode is {settings.two_views.mode!r} but {settings.model!r} takes one view '
            f'only; presets that take two: {models.presets_where(lambda p: p.max_views > 1)}. '
            "Or set two_views.mode to 'off'."
        )
    views = settings.two_views.at_once
    if views > preset.max_views:
        raise ConfigError(
            f'two_views.views is {views} but {settings.model!r} takes {preset.max_views} views; '
            f'presets that take more: {models.presets_where(lambda p: p.max_views >= views)}. '
            f'Or set two_views.views to {preset.max_views}.'
        )
    if preset.kind is not None:
        Scaling(
            settings.scaling,
            preset.kind,
            two_views=two_views,
            anchors=any(settings.anchors.sources),
            takes_views=preset.max_views > 1,
        )


def check_sources(settings: Settings) -> None:
    """Refuse a scale by anchors without anything that gives them.

    Raises:
        ConfigError: with the parameter to set.
    """
    if settings.scaling.method == 'anchors' and not any(settings.anchors.sources):
        raise ConfigError(
            "scaling.method is 'anchors' but anchors.sources names none: set it to some of "
            f'{", ".join(SOURCES)}'
        )


def without_effect(
    settings: Settings,
    preset: Preset | None = None,
    device: torch.device | None = None,
    *,
    has: Container[str],
) -> list[str]:
    """Parameters that differ from their default although that has no effect.

    Args:
        settings: all parameters.
        preset: that is used; None if it is not known yet, to check what does not depend on it.
        device: of the network; None likewise.
        has: which of `NODE`, `BAG` and `WRITTEN_BAG` there are; `OF_NODE` for the node.

    Returns:
        A sentence for each, with the reason and the remedy.
    """
    sentences = []
    for parameter in parameters():
        value = attrgetter(parameter.name)(settings)
        if value == parameter.default:
            continue
        reason = _reason(parameter, settings, preset, device, has)
        if reason:
            sentences.append(
                f'{parameter.name} is {value!r} but has no effect: {reason}. Remove it'
            )
    return sentences


def _reason(
    parameter: Parameter,
    settings: Settings,
    preset: Preset | None,
    device: torch.device | None,
    has: Container[str],
) -> str:
    needs = parameter.needs
    if needs in ONLY and needs not in has:
        return ONLY[needs]
    if needs == CPU and device is not None and device.type != 'cpu':
        return f'the network runs on {device}'
    if needs in ABILITIES and preset is not None and needs not in preset.takes:
        able = ' or '.join(models.networks_with(needs))
        what = 'has no confidence' if needs == 'confidence' else 'does not use it'
        return f'{preset.name} {what}; networks with it: {able}'
    described = preset is not None and 'onnx' in preset.takes
    if needs == 'confidence' and described and not settings.onnx.confidence:
        return 'onnx.confidence names no output'
    needed = [condition for condition in (parameter.only_with, parameter.or_with) if condition]
    unmet = []
    for name, *values in needed:
        other = attrgetter(name)(settings)
        if not set(values) & set(other if isinstance(other, list) else [other]):
            unmet.append(f'{name} {" or ".join(values)}, which is {other}')
    return f'it needs {"; or ".join(unmet)}' if needed and len(unmet) == len(needed) else ''
