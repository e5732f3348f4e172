# SPDX-License-Identifier: Apache-2.0
"""Description of the machine on which figures were measured."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    'numpy', 'onnxruntime', 'opencv-python-headless', 'rclpy', 'ros-fastdds', 'timm', 'torch',
    'transformers',
)  # fmt: skip
#: instructions for a precision, as /proc/cpuinfo calls them
HALF = {'bf16': ('avx512_bf16', 'amx_bf16'), 'fp16': ('avx512_fp16', 'amx_fp16')}


def machine(device: torch.device) -> dict[str, Any]:
    """Hardware, and versions of packages."""
    cpu = _cpu_value('model name') or platform.processor() or platform.machine()
    gpu = torch.cuda.get_device_name(device) if device.type == 'cuda' else None
    text = f'{gpu or cpu}'.lower()
    name = '-'.join(''.join(c if c.isalnum() else ' ' for c in text).split())
    return {
        'name': name if gpu else f'{name}-{os.cpu_count()}',
        'cpu': cpu,
        'cores': os.cpu_count(),
        'half_precision': sorted(set(_cpu_value('flags').split()) & set().union(*HALF.values())),
        'gpu': gpu,
        'python': platform.python_version(),
        'packages': {name: found for name in PACKAGES if (found := installed(name))},
    }


def installed(package: str) -> str:
    """Version of an installed package; '' if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ''


def moment() -> dict[str, Any]:
    """Date and load of the machine, for the conditions of a measurement."""
    return {
        'date': datetime.now(timezone.utc).isoformat(timespec='minutes'),
        'load': round(os.getloadavg()[0], 2),
    }


def precisions(device: torch.device) -> tuple[str, ...]:
    """Precisions with arithmetic instructions on the device, from 'fp32', 'bf16', 'fp16'."""
    if device.type == 'cuda':
        halves = ['bf16'] * torch.cuda.is_bf16_supported(including_emulation=False) + ['fp16']
        return 'fp32', *halves
    flags = _cpu_value('flags').split()
    return 'fp32', *(name for name, needs in HALF.items() if set(needs) & set(flags))


def _cpu_value(key: str) -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return ''
    found = (line.partition(':')[2].strip() for line in lines if line.startswith(key))
    return next(found, '')


def has_ros() -> bool:
    """Whether rclpy is installed; it is not imported."""
    return find_spec('rclpy') is not None
