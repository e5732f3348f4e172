# SPDX-License-Identifier: Apache-2.0
"""Which engines, devices and precisions are possible for a network on this machine."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import torch

from depth_ros.core.errors import ConfigError
from depth_ros.models import Preset
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.device import choose_precision, is_of_openvino
from depth_ros.pipeline.engines import ENGINES, TORCH, Engine, Target
from depth_ros.pipeline.engines.onnxruntime import OnnxRuntime
from depth_ros.pipeline.engines.openvino import OpenVino

log = logging.getLogger(__name__)
#: environment variable: the engine that `auto` is on this machine
VARIABLE = 'DEPTH_ROS_ENGINE'


@cache
def engine_named(name: str) -> Engine:
    """An engine other than torch."""
    return OpenVino() if name == 'openvino' else OnnxRuntime()


def targets(settings: Settings, preset: Preset, device: torch.device) -> list[Target]:
    """All that `engine`, `device` and `precision` allow, the most usual one first.

    Args:
        settings: all parameters.
        preset: of the network.
        device: of the frames.

    Raises:
        ConfigError: there is none, with the reason.
    """
    named = settings.engine if settings.engine != 'auto' else os.environ.get(VARIABLE, 'auto')
    if named not in ('auto', *ENGINES):
        raise ConfigError(f'{VARIABLE} is {named!r}; it is auto or one of {", ".join(ENGINES)}')
    reason = getattr(import_module(f'depth_ros.models.{preset.family}'), 'NOT_EXPORTED', '')
    if settings.two_views.mode != 'off':
        reason = reason or 'several views at once are not exported'
    if reason and (named not in ('auto', TORCH) or is_of_openvino(settings.device)):
        raise ConfigError(
            f'{preset.name} runs in torch only: {reason}. Set engine to {TORCH!r} and device to '
            'auto'
        )
    if named != 'auto':
        return _of(named, settings, preset, device)
    found: list[Target] = []
    for name in ENGINES if not reason else (TORCH,):
        if name != TORCH and not _is_installed(name):
            continue
        try:
            found += _of(name, settings, preset, device, may_choose=True)
        except ConfigError as error:
            log.debug('%s is not tried: %s', name, error)
    if not found:
        return _of(
            'openvino' if is_of_openvino(settings.device) else TORCH, settings, preset, device
        )
    return found


def _of(
    name: str,
    settings: Settings,
    preset: Preset,
    device: torch.device,
    *,
    may_choose: bool = False,
) -> list[Target]:
    """Targets of one engine; raises ConfigError if there are none.

    `may_choose`: the engine, and with it the precision, is left to what is fastest.
    """
    wanted = settings.device.lower()
    if name == TORCH:
        if is_of_openvino(wanted):
            raise ConfigError(
                f"device is {settings.device!r}, of Intel by OpenVINO: set engine to 'openvino'. "
                'The device of a GPU of NVIDIA is cuda'
            )
        precisions = _of_torch(settings, preset, device, may_choose=may_choose)
        return [Target(TORCH, str(device), p, settings.threads) for p in precisions]
    engine = engine_named(name)
    engine.version()
    devices = engine.devices()
    if wanted == 'auto':
        # frames on the CPU can be given to any device of OpenVINO
        also = is_of_openvino if device.type == 'cpu' else lambda d: False
        fits = [d for d in devices if d == str(device) or also(d)]
    else:
        wanted = wanted if is_of_openvino(wanted) else str(device)
        fits = [d for d in devices if d == wanted or d.partition('.')[0] == wanted]
    if not fits:
        raise ConfigError(
            f'device is {settings.device!r}, but {name} {engine.version()} has '
            f'{", ".join(devices)} here: set device to one of these, or install its driver; '
            'a GPU of NVIDIA is cuda with engine torch'
        )
    found = [
        Target(name, d, p, settings.threads)
        for d in fits
        for p in devices[d]
        if settings.precision in ('auto', p)
    ]
    if not found:
        has = ' and '.join(dict.fromkeys(p for d in fits for p in devices[d]))
        raise ConfigError(
            f'precision is {settings.precision!r}, but engine {name!r} has {has} on '
            f'{" and ".join(fits)}: set precision to auto'
        )
    return found


def _of_torch(
    settings: Settings, preset: Preset, device: torch.device, *, may_choose: bool
) -> tuple[str, ...]:
    """Precisions for torch: the usual one, and for engine auto bf16 on a CPU that has it.

    Raises:
        ConfigError: the preset cannot run in that precision.
    """
    usual = choose_precision(settings.precision, device, preset)
    if settings.precision != 'auto' or not preset.casts or device.type == 'cuda':
        return (usual,)
    return (usual, 'bf16') if may_choose and cpu_has_bf16() else (usual,)


@cache
def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies matrices of bf16; in others it is slower than fp32."""
    return bool(_bf16_instructions())


@cache
def cpu_name() -> str:
    """Of the maker; and what it has for bf16, as machines may share a cache."""
    bf16 = ' '.join(_bf16_instructions()) or 'no bf16'
    return f'{_cpu_info("model name", "Processor", "CPU part")}, {bf16}'


def _bf16_instructions() -> list[str]:
    flags = set(re.findall(r'\w+', _cpu_info('flags', 'Features')))
    return sorted(flags & {'avx512_bf16', 'amx_bf16', 'bf16'})


def _cpu_info(*keys: str) -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return ''
    pairs = (line.partition(':') for line in lines)
    found = {key.strip(): value.strip() for key, _, value in pairs}
    return next((found[key] for key in keys if key in found), '')


def _is_installed(name: str) -> bool:
    if not importlib.util.find_spec(name):
        return False
    if importlib.util.find_spec('onnxscript'):
        return True
    log.info(
        '%s is installed, but networks are exported with onnxscript: pip install onnxscript, and '
        'engine auto tries it',
        name,
    )
    return False
