# SPDX-License-Identifier: Apache-2.0
"""Engines that run a network faster than torch does layer by layer.

A family knows nothing of them: `BatchedModel.engine` runs in place of its network, from input
tensor to output maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

#: runs a network: (B, C, h, w) float32 -> a map, or a tuple of maps
Runner = Callable[[Tensor], Any]
ENGINES = ('torch', 'openvino', 'onnxruntime')


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how an exported network runs.

    Args:
        device: cpu, or another name in the engine.
        precision: fp32, fp16 or bf16.
        threads: of the CPU.
    """

    device: str
    precision: str
    threads: int


class Engine(Protocol):
    """Runs networks that torch has exported as ONNX files.

    Attributes:
        name: of `ENGINES`.
    """

    name: str

    def version(self) -> str:
        """Of the library; raises ConfigError if it is not installed."""
        ...

    def precisions(self, device: str) -> tuple[str, ...]:
        """Those that the device computes in its own arithmetic, the most exact one first."""
        ...

    def open(self, path: Path, target: Target) -> Runner:
        """Run such a file; raises whatever the library does for one that is damaged."""
        ...
