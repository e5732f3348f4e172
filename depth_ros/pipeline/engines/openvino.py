# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: networks on CPUs, and on GPUs and NPUs of Intel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depth_ros.core.errors import ConfigError
from depth_ros.pipeline.engines import Runner, Target

_NAMES = {'fp32': 'f32', 'fp16': 'f16', 'bf16': 'bf16'}
_CAPABILITIES = {'FP32': 'fp32', 'FP16': 'fp16', 'BF16': 'bf16'}


class OpenVino:
    """An `Engine`."""

    name = 'openvino'

    def __init__(self) -> None:
        self._made: Any = None

    def _core(self) -> Any:
        if self._made is None:
            try:
                import openvino
            except ImportError as error:
                raise ConfigError(
                    f"engine is 'openvino', and it cannot be imported ({error}): pip install "
                    'openvino, or set engine to auto'
                ) from None
            self._made = openvino.Core()
        return self._made

    def version(self) -> str:
        """Of the library."""
        self._core()
        import openvino

        return str(openvino.__version__).partition('-')[0]

    def precisions(self, device: str) -> tuple[str, ...]:
        """Those that the device computes in its own arithmetic, the most exact one first."""
        found = self._core().get_property(device.upper(), 'OPTIMIZATION_CAPABILITIES')
        return tuple(ours for theirs, ours in _CAPABILITIES.items() if theirs in found)

    def open(self, path: Path, target: Target) -> Runner:
        """Run an ONNX file."""
        core = self._core()
        properties: dict[str, Any] = {
            'INFERENCE_PRECISION_HINT': _NAMES[target.precision],
            'PERFORMANCE_HINT': 'LATENCY',
        }
        if target.device == 'cpu':
            properties['INFERENCE_NUM_THREADS'] = target.threads
        compiled = core.compile_model(core.read_model(path), target.device.upper(), properties)
        count = len(compiled.outputs)

        def run(x: Tensor) -> Any:
            found = compiled(x.contiguous().numpy())
            # a copy: the next call writes to the same memory
            maps = tuple(torch.from_numpy(np.array(found[k], np.float32)) for k in range(count))
            return maps[0] if count == 1 else maps

        return run
