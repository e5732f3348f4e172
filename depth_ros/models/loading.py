# SPDX-License-Identifier: Apache-2.0
"""From a preset's name to its network, filled with weights."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import torch

from depth_ros.core.errors import ConfigError
from depth_ros.models import mkldnn_linear
from depth_ros.models.interface import DepthModel, ModelOptions, Preset
from depth_ros.models.presets import get

Network = TypeVar('Network', bound=torch.nn.Module)


def load(name: str, options: ModelOptions) -> DepthModel:
    """Build the preset's network with its weights; the family's module is imported only here.

    Raises:
        ConfigError: unknown preset, or options the family cannot use.
        WeightsError: the checkpoint does not fit.
    """
    preset = get(name)
    model: DepthModel = import_module(f'depth_ros.models.{preset.family}').load(preset, options)
    return model


def load_network(
    build: Callable[[], Network],
    load_checkpoint: Callable[[Network, Preset, Path], None],
    preset: Preset,
    options: ModelOptions,
) -> Network:
    """What `build` makes, filled by `load_checkpoint` and ready to infer; for a family's `load`.

    Raises:
        ConfigError: no weights.
        WeightsError: the file is broken, or another network's or variant's.
    """
    if options.weights is None:
        raise ConfigError(f'{preset.name} needs weights; set weights to {preset.source.published}')
    with torch.device('meta'):  # the file fills it: no time and memory for random weights
        network = build()
    load_checkpoint(network, preset, options.weights)
    network = network.to(options.device, options.dtype).eval().requires_grad_(False)
    if mkldnn_linear.is_beneficial(options.device, options.dtype):
        mkldnn_linear.replace_linears(network)
    # convolutions are faster with the channels innermost, on CPUs and in half precision on GPUs
    return network.to(memory_format=torch.channels_last)
