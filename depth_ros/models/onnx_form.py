# SPDX-License-Identifier: Apache-2.0
"""How a network of a preset is written as an ONNX file that other programs can use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from depth_ros.models.interface import DepthModel


@dataclass(frozen=True, slots=True)
class OnnxForm:
    """A network whose input and outputs the parameters `onnx.*` describe.

    Args:
        network: (1, 3, h, w) float32 -> `outputs`, (1, h, w) each. With `takes_intrinsics` it also
            takes K of that image, (1, 3, 3) float32 [px].
        size: (h, w) of the input.
        outputs: names; the first is depth, or inverse depth.
        described: parameter of `settings.Onnx` -> value, apart from sizes and names.
        takes_intrinsics: the network takes K.
    """

    network: nn.Module
    size: tuple[int, int]
    outputs: tuple[str, ...]
    described: Mapping[str, Any] = field(default_factory=dict)
    takes_intrinsics: bool = False


@runtime_checkable
class HasOnnxForm(DepthModel, Protocol):
    """A `DepthModel` whose network can be written as such a file."""

    def onnx_form(self, size: tuple[int, int]) -> OnnxForm:
        """The form for images of (H, W), on the device and in the dtype of the network."""
        ...


class Converted(nn.Module):
    """A network with another form of its output.

    Args:
        network: takes the same.
        convert: its output -> a tensor, or a tuple of tensors.
    """

    def __init__(self, network: nn.Module, convert: Callable[[Any], Any]) -> None:
        super().__init__()
        self.network = network
        self._convert = convert

    def forward(self, *inputs: Tensor) -> Any:
        """The converted output."""
        return self._convert(self.network(*inputs))
