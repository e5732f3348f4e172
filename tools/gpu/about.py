# SPDX-License-Identifier: Apache-2.0
"""The machine: hardware, driver and versions."""

from __future__ import annotations

import subprocess
from typing import Any

import torch

from tools import machine
from tools.gpu.worker import Clock, Emit

PACKAGES = ('timm', 'triton', 'safetensors', 'opencv-python', 'opencv-python-headless', 'pytest')
#: of nvidia-smi
FACTS = ('driver_version', 'memory.total', 'clocks.max.sm', 'clocks.sm', 'power.limit')


def run(job: dict[str, Any], emit: Emit, clock: Clock) -> None:
    """Emit one row: what a result file says of its machine, and 'about' with what only a GPU has.

    Raises:
        RuntimeError: torch sees no such GPU.
    """
    device = torch.device(job['device'])
    about: dict[str, Any] = {name: machine.installed(name) for name in PACKAGES}
    if device.type == 'cuda':
        properties = torch.cuda.get_device_properties(device)
        about |= {
            'cuda': torch.version.cuda,
            'cudnn': torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            'capability': '.'.join(map(str, torch.cuda.get_device_capability(device))),
            'multiprocessors': properties.multi_processor_count,
            **_nvidia_smi(device.index or 0),
        }
        torch.ones(1, device=device).sum().item()  # that it works
    emit('about', {'machine': machine.machine(device), 'about': about})


def _nvidia_smi(index: int) -> dict[str, str]:
    """What the driver says; nothing without the program."""
    command = ['nvidia-smi', f'--query-gpu={",".join(FACTS)}', '--format=csv,noheader']
    try:
        done = subprocess.run(
            [*command, '-i', str(index)], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    values = done.stdout.strip().split(', ')
    return dict(zip(FACTS, values, strict=True)) if len(values) == len(FACTS) else {}
