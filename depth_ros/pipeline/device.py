# SPDX-License-Identifier: Apache-2.0
"""The device and the precision of a network, by name or as this machine has them."""

from __future__ import annotations

import logging
import re
from importlib import import_module

import torch

from depth_ros.core.errors import ConfigError
from depth_ros.models import Preset

log = logging.getLogger(__name__)
DTYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
_OF_OPENVINO = re.compile(r'(gpu|npu)(\.\d+)?')


def is_of_openvino(name: str) -> bool:
    """Whether a device is one that OpenVINO has and torch has not: gpu, gpu.N, npu or npu.N."""
    return _OF_OPENVINO.fullmatch(name.lower()) is not None


def describe(device: torch.device) -> str:
    """The device with the name of its maker."""
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else ''
    return f'{device} ({name})' if name else str(device)


def choose_device(name: str, preset: Preset, weights: str = '') -> torch.device:
    """The device of torch, which holds the frames.

    `auto` takes the first GPU if the family can use it; else a name is taken at its word. For
    devices that only OpenVINO has, the frames are on the CPU.

    Args:
        name: the parameter `device`.
        preset: of the network.
        weights: the parameter `weights`; some families run each kind of file by another library.

    Raises:
        ConfigError: the name is no device, or the machine does not have it.
    """
    if is_of_openvino(name):
        return torch.device('cpu')
    if name == 'auto':
        device = torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')
        family = import_module(f'depth_ros.models.{preset.family}')
        if not getattr(family, 'runs_on', lambda *_: True)(device, preset, weights):
            log.warning('%s cannot use %s here; cpu is taken', preset.family, device)
            return torch.device('cpu')
        return device
    kind, _, index = name.partition(':')
    if kind not in ('cpu', 'cuda') or (index and not index.isdigit()) or name == 'cuda:':
        raise ConfigError(
            f'device is {name!r}; it is auto, cpu, cuda or cuda:N, or with OpenVINO gpu, gpu.N '
            'or npu'
        )
    if kind == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise ConfigError(
                f'device is {name!r} but torch {torch.__version__} sees {count} GPUs; '
                'set device to auto or cpu, or install a torch that fits the driver (nvidia-smi)'
            )
        return torch.device('cuda', int(index or 0))
    return torch.device('cpu')


def choose_precision(name: str, device: torch.device, preset: Preset) -> str:
    """`auto` is fp16 on a GPU and fp32 on a CPU; families with their own arithmetic stay at fp32.

    Raises:
        ConfigError: the preset cannot run in that precision.
    """
    if not preset.casts:
        if name in ('auto', 'fp32'):
            return 'fp32'
        raise ConfigError(
            f'precision is {name!r} but family {preset.family!r} computes in its own; '
            'set it to auto'
        )
    if name == 'auto':
        return 'fp16' if device.type == 'cuda' else 'fp32'
    return name
