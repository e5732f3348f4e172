# SPDX-License-Identifier: Apache-2.0
"""Engines that run a network faster than torch does layer by layer.

| module        | what it does                                                             |
|---------------|--------------------------------------------------------------------------|
| targets       | which engine, device and precision are possible here                     |
| measure       | has them measured by another process, and remembers the fastest          |
| trial         | that process: exports the network, compares with torch, measures         |
| load          | loads the network for the chosen one                                     |
| exported      | a network as ONNX file in the cache; runs it, also for further sizes     |
| openvino, onnxruntime | run such a file; each is an `Engine`                             |
| cuda_graphs   | torch on a GPU, without the launch of each kernel                        |
| compare       | how far the depth is from that of torch in fp32                          |

A family knows nothing of them: `BatchedModel.engine` runs in place of its network, from input
tensor to output maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from depth_ros.models import DepthModel

#: runs a network: (B, C, h, w) float32 -> a map, or a tuple of maps
Runner = Callable[[Tensor], Any]
TORCH = 'torch'
ENGINES = (TORCH, 'openvino', 'onnxruntime')
NETWORK = 'network.onnx'  #: an exported network


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how a network runs.

    Args:
        engine: of `ENGINES`.
        device: cpu, cuda:N, or another name in the engine, such as gpu.0 or npu.
        precision: fp32, fp16 or bf16.
        threads: of the CPU.
    """

    engine: str
    device: str
    precision: str
    threads: int

    def __str__(self) -> str:
        """In words."""
        return f'{self.engine} on {self.device} in {self.precision}'


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to run.

    Args:
        model: on its device, in its precision.
        target: where and how it runs.
        engine: with version, in words for log and diagnostics.
        precision: with the difference from fp32, likewise.
    """

    model: DepthModel
    target: Target
    engine: str
    precision: str


class Engine(Protocol):
    """Runs networks that torch has exported as ONNX files.

    Attributes:
        name: of `ENGINES`.
    """

    name: str

    def version(self) -> str:
        """Of the library; raises ConfigError if it is not installed."""
        ...

    def devices(self) -> dict[str, tuple[str, ...]]:
        """Devices of this machine -> precisions that each computes in its own arithmetic."""
        ...

    def open(self, folder: Path, target: Target) -> Runner:
        """Run the file `NETWORK` of a folder, where the engine may keep files, too.

        Raises whatever the library does if the file is damaged or the device fails.
        """
        ...
