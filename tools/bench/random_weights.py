# SPDX-License-Identifier: Apache-2.0
"""Presets with random weights: as fast as trained ones, without a download."""

from __future__ import annotations

import dataclasses
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from depth_ros import models
from depth_ros.models import PRESETS, DepthModel, ModelOptions, Preset


def load(
    name: str,
    options: ModelOptions,
    *,
    empty: bool = False,
    like: Any = None,
    drawn_on: torch.device | None = None,
) -> DepthModel:
    """Load a preset with random weights.

    Args:
        name: of the preset; those with packaged weights or without weights are loaded normally.
        options: without weights.
        empty: leave the layers on the meta device, with shapes only.
        like: a model of the same preset, whose weights are taken; on any device, in any precision.
        drawn_on: device that draws the weights, other ones on each; the CPU, if absent. A GPU
            takes no time for them, a CPU seconds.
    """
    preset = PRESETS[name]
    family = import_module(f'depth_ros.models.{preset.family}')
    if not hasattr(family, 'load_checkpoint'):
        return models.load(name, _with_weights(options, preset.source.packaged))
    where = drawn_on or torch.device('cpu')
    fill: Any = (lambda *_, **__: None) if empty else partial(_fill, where)
    if like is not None:
        fill = partial(_take, like.network)
    # every family builds its layers on the meta device and calls load_checkpoint to fill them
    with mock.patch.object(family, 'load_checkpoint', fill):
        return models.load(name, _with_weights(options, Path('random')))


@cache
def networks(names: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Presets with a network, grouped by layers: first of each group -> all of the group.

    Args:
        names: return only groups with one of these; all if empty.
    """
    groups: dict[Any, list[str]] = {}
    for name, preset in PRESETS.items():
        if preset.family not in ('onnx', 'transformers', 'flat'):
            groups.setdefault(_layers(name, preset), []).append(name)
    return {same[0]: same for same in groups.values() if not names or set(names) & set(same)}


def count_parameters(name: str) -> int:
    """Number of parameters of the network of a preset."""
    model: Any = load(name, ModelOptions(device=torch.device('meta')), empty=True)
    return sum(p.numel() for p in model.network.parameters())


def _layers(name: str, preset: Preset) -> Any:
    """Key that is equal for presets whose networks take the same time."""
    if preset.source.packaged:
        return name
    model: Any = load(name, ModelOptions(device=torch.device('meta')), empty=True)
    shapes = {(n, tuple(t.shape)) for n, t in model.network.state_dict().items()}
    side = {'monodepth2': preset.variant.rpartition('_')[2], 'dust3r': preset.variant}
    return preset.family, side.get(preset.family), frozenset(shapes)


def _with_weights(options: ModelOptions, path: Path | None) -> ModelOptions:
    return dataclasses.replace(options, weights=path)


def _take(like: nn.Module, network: nn.Module, *_: object, **__: object) -> None:
    """Give a network on the meta device the weights and buffers of another."""
    network.load_state_dict(like.state_dict(), assign=True)
    buffers = dict(like.named_buffers())
    for name, buffer in network.named_buffers():
        if buffer.is_meta:  # no part of a state_dict
            owner, _, leaf = name.rpartition('.')
            network.get_submodule(owner)._buffers[leaf] = buffers[name]


def _fill(device: torch.device, network: nn.Module, *_: object, **__: object) -> None:
    """Give a network on the meta device memory, and random weights."""
    network.to_empty(device=device)
    draw(network)


def draw(network: nn.Module) -> None:
    """Replace the weights of a network by random ones that keep values in range.

    They are the same each time on one kind of device, so that differences between precisions can
    be compared.
    """
    noise = torch.Generator(next(network.parameters()).device).manual_seed(0)
    with torch.no_grad():
        for name, values in (*network.named_parameters(), *network.named_buffers()):
            if not values.is_floating_point():
                values.zero_()
            elif values.ndim > 1 and name not in ('mean', 'std'):  # of the normalisation
                fan_in = max(1, values[0].numel())
                values.normal_(0, fan_in**-0.5, generator=noise)
            else:
                values.fill_(0.0 if name.endswith(('bias', 'mean')) else 1.0)
