# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: networks on CPUs, and on GPUs and NPUs of Intel."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depth_ros.core.errors import ConfigError
from depth_ros.models.without_telemetry import import_openvino
from depth_ros.pipeline.engines import NETWORK, Runner, Target

_NAMES = {'fp32': 'f32', 'fp16': 'f16', 'bf16': 'bf16'}
_CAPABILITIES = {'FP32': 'fp32', 'FP16': 'fp16', 'BF16': 'bf16'}
HALF = 'openvino-half.xml'  #: the network with weights in fp16


class OpenVino:
    """An `Engine`."""

    name = 'openvino'

    def __init__(self) -> None:
        self._made: Any = None

    def _library(self) -> Any:
        try:
            openvino = import_openvino()
        except ImportError as error:
            raise ConfigError(
                f"engine is 'openvino', and it cannot be imported ({error}): pip install "
                'openvino, or set engine to auto'
            ) from None
        return openvino

    def _core(self) -> Any:
        if self._made is None:
            self._made = self._library().Core()
        return self._made

    def version(self) -> str:
        """Of the library."""
        return str(self._library().__version__).partition('-')[0]

    def devices(self) -> dict[str, tuple[str, ...]]:
        """cpu, and gpu.N or npu where there is a driver for them."""
        core, found = self._core(), {}
        for device in core.available_devices:
            has = core.get_property(device, 'OPTIMIZATION_CAPABILITIES')
            precisions = tuple(ours for theirs, ours in _CAPABILITIES.items() if theirs in has)
            found[device.lower()] = precisions
        return found

    def open(self, folder: Path, target: Target) -> Runner:
        """Run an ONNX file.

        In half precision a copy with weights in fp16 is kept beside it, which takes half of the
        memory; otherwise what the library has compiled is. Both are opened faster.
        """
        core = self._core()
        properties: dict[str, Any] = {
            'INFERENCE_PRECISION_HINT': _NAMES[target.precision],
            'PERFORMANCE_HINT': 'LATENCY',
        }
        if target.device == 'cpu':
            properties['INFERENCE_NUM_THREADS'] = target.threads
        path = folder / NETWORK
        if target.precision != 'fp32':
            path = _with_half_weights(core, path)
        if target.precision == 'fp32' or target.device != 'cpu':
            properties['CACHE_DIR'] = str(folder / f'openvino-{target.device}')
        compiled = core.compile_model(str(path), target.device.upper(), properties)
        count = len(compiled.outputs)

        def run(x: Tensor) -> Any:
            found = compiled(x.contiguous().numpy())
            # a copy: the next call writes to the same memory
            maps = tuple(torch.from_numpy(np.array(found[k], np.float32)) for k in range(count))
            return maps[0] if count == 1 else maps

        return run


def _with_half_weights(core: Any, path: Path) -> Path:
    import openvino

    half = path.with_name(HALF)
    if not half.exists():
        # in a folder of its own first, so that a process that is killed leaves no half of a file
        part = Path(mkdtemp(dir=path.parent, suffix='.part'))
        openvino.save_model(core.read_model(path), part / HALF, compress_to_fp16=True)
        for name in (half.with_suffix('.bin').name, HALF):  # the one that is looked for last
            os.replace(part / name, path.with_name(name))
        part.rmdir()
    return half
