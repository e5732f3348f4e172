# SPDX-License-Identifier: Apache-2.0
"""Presets with random numbers for weights: as fast as trained ones, and nothing is downloaded."""

from __future__ import annotations

import dataclasses
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from depth_ros import models
from depth_ros.models import PRESETS, DepthModel, ModelOptions, Preset


def load(name: str, options: ModelOptions, *, empty: bool = False) -> DepthModel:
    """The preset as its family builds it, with random weights instead of a file's.

    Args:
        name: of the preset; what is packaged or needs no weights is loaded as it is.
        options: without weights.
        empty: leave the layers on the meta device: shapes, and nothing else.
    """
    preset = PRESETS[name]
    family = import_module(f'depth_ros.models.{preset.family}')
    if not hasattr(family, 'load_checkpoint'):
        return models.load(name, _with_weights(options, preset.source.packaged))
    fill = (lambda *_, **__: None) if empty else _fill
    # every family builds its layers on the meta device and has this fill them
    with mock.patch.object(family, 'load_checkpoint', fill):
        return models.load(name, _with_weights(options, Path('random')))


@cache
def networks(names: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Presets that have layers: the first of those with the same ones -> all of them.

    Args:
        names: only groups with one of these; all if empty.
    """
    found: dict[Any, list[str]] = {}
    for name, preset in PRESETS.items():
        if preset.family not in ('onnx', 'flat'):
            found.setdefault(_layers(name, preset), []).append(name)
    return {same[0]: same for same in found.values() if not names or set(names) & set(same)}


def parameters_of(name: str) -> int:
    """How many numbers the preset's network has."""
    model: Any = load(name, ModelOptions(device=torch.device('meta')), empty=True)
    return sum(p.numel() for p in model.network.parameters())


def _layers(name: str, preset: Preset) -> Any:
    """Equal for presets whose networks take the same time; v1 and v2 tap other blocks only."""
    if preset.source.packaged:
        return name
    model: Any = load(name, ModelOptions(device=torch.device('meta')), empty=True)
    shapes = {(n, tuple(t.shape)) for n, t in model.network.state_dict().items()}
    side = {'monodepth2': preset.variant.rpartition('_')[2], 'dust3r': preset.variant}
    return preset.family, side.get(preset.family), frozenset(shapes)


def _with_weights(options: ModelOptions, path: Path | None) -> ModelOptions:
    return dataclasses.replace(options, weights=path)


def _fill(network: nn.Module, *_: object, **__: object) -> None:
    """Give a network on the meta device numbers that stay in range through every layer."""
    network.to_empty(device='cpu')
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in (*network.named_parameters(), *network.named_buffers()):
            if not values.is_floating_point():
                values.zero_()
            elif values.ndim > 1:
                fan_in = max(1, values[0].numel())
                values.normal_(0, fan_in**-0.5, generator=noise)
            else:
                values.fill_(0.0 if name.endswith(('bias', 'mean')) else 1.0)
