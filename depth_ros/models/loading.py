# SPDX-License-Identifier: Apache-2.0
"""Load the network of a preset with its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import torch

from depth_ros.checkpoints.adapted import card_for
from depth_ros.checkpoints.source import Source
from depth_ros.core.errors import ConfigError
from depth_ros.models import mkldnn_linear
from depth_ros.models.interface import DepthModel, ModelOptions, Preset
from depth_ros.models.presets import get

Network = TypeVar('Network', bound=torch.nn.Module)


def load(name: str, options: ModelOptions) -> DepthModel:
    """Build the network of a preset and load its weights; imports the module of its family.

    Args:
        name: of the preset.
        options: device, dtype and the like.

    Raises:
        ConfigError: unknown preset, or options that the network does not support.
        WeightsError: the checkpoint is damaged or does not fit, or was adapted from another
            preset.
    """
    preset = get(name)
    card_for(name, options.weights)
    if options.max_depth and 'max_depth' in preset.takes:
        preset = dataclasses.replace(preset, max_depth=options.max_depth)
    model: DepthModel = import_module(f'depth_ros.models.{preset.family}').load(preset, options)
    return model


def check_libraries(preset: Preset, weights: str) -> None:
    """Check, before anything is downloaded, that the libraries of a family are installed.

    Args:
        preset: of the network.
        weights: the parameter; '' for the published weights of the preset.

    Raises:
        ConfigError: one is missing.
    """
    family = import_module(f'depth_ros.models.{preset.family}')
    getattr(family, 'check_libraries', lambda *_: None)(preset, weights)


def source_of(preset: Preset, weights: str, revision: str) -> Source:
    """Where the weights come from, and their licence.

    Args:
        preset: of the network.
        weights: the parameter.
        revision: the parameter `transformers.revision`.

    Raises:
        WeightsError: a family asks the hub for it, and finds no network there.
    """
    family = import_module(f'depth_ros.models.{preset.family}')
    find: Callable[[Preset, str, str], Source] | None = getattr(family, 'source_of', None)
    return find(preset, weights, revision) if find else preset.source


def load_network(
    build: Callable[[], Network],
    load_checkpoint: Callable[[Network, Preset, Path], None],
    preset: Preset,
    options: ModelOptions,
) -> Network:
    """Build a network, load its checkpoint and prepare it for inference; used by the families.

    Args:
        build: returns the network with random weights; called on the meta device.
        load_checkpoint: loads a file into the network, strictly.
        preset: for messages and checks of the checkpoint.
        options: device and dtype; `weights` is the file. With `without_weights` it is not read.

    Raises:
        ConfigError: no weights were given.
        WeightsError: the file is damaged, or of another network or variant.
    """
    if options.weights is None:
        raise ConfigError(f'{preset.name} needs weights; set weights to {preset.source.published}')
    with torch.device('meta'):  # saves the time and memory of random weights
        network = build()
    if options.without_weights:
        return network.to('meta')
    load_checkpoint(network, preset, options.weights)
    network = network.to(options.device, options.dtype).eval().requires_grad_(False)
    if not options.exportable and mkldnn_linear.is_beneficial(options.device, options.dtype):
        mkldnn_linear.replace_linears(network)
    # convolutions are faster with channels last, on CPUs and in half precision on GPUs
    return network.to(memory_format=torch.channels_last)
