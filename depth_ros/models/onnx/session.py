# SPDX-License-Identifier: Apache-2.0
"""What is needed of a library that runs a file: its inputs, its outputs, and a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

#: Types of an image, named as onnxruntime does, -> those of numpy.
TYPES: dict[str, np.dtype[Any]] = {
    'tensor(float)': np.dtype(np.float32),
    'tensor(float16)': np.dtype(np.float16),
    'tensor(double)': np.dtype(np.float64),
    'tensor(uint8)': np.dtype(np.uint8),
}
#: those of an output, as far as it is not quantised
FLOATS = {name: kind for name, kind in TYPES.items() if kind != np.uint8}
#: those of an input or output that is quantised
QUANTISED: dict[str, np.dtype[Any]] = {
    'tensor(uint8)': np.dtype(np.uint8),
    'tensor(int8)': np.dtype(np.int8),
    'tensor(int16)': np.dtype(np.int16),
}


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How integers stand for values: value = scale * (integer - zero_point)."""

    scale: float
    zero_point: int

    def integers(self, values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        """The nearest integers of `dtype`; values outside of its range become its limits."""
        limits = np.iinfo(dtype)
        numbers = np.rint(values / self.scale) + self.zero_point
        return numbers.clip(limits.min, limits.max).astype(dtype)

    def values(self, integers: np.ndarray) -> np.ndarray:
        """What the integers stand for, float32."""
        return ((integers.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)

    def limits(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        """Values of the smallest and the largest integer of `dtype`."""
        info = np.iinfo(dtype)
        low, high = ((number - self.zero_point) * self.scale for number in (info.min, info.max))
        return low, high


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a network.

    Args:
        name: in the file.
        type: such as 'tensor(float)', as onnxruntime names it.
        shape: an axis that is dynamic has a name or None.
        quantisation: what its integers stand for; None for others.
    """

    name: str
    type: str
    shape: Sequence[Any]
    quantisation: Quantisation | None = None

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Of numpy; None for types that neither an image nor a depth map has."""
        return (QUANTISED if self.quantisation else TYPES).get(self.type)

    def __str__(self) -> str:
        """Name, type and shape, for a message."""
        if self.quantisation is None:
            return f'{self.name} {self.type} {list(self.shape)}'
        scale, zero = self.quantisation.scale, self.quantisation.zero_point
        return f'{self.name} {self.type} {list(self.shape)}, scale {scale:.6g}, zero point {zero}'


class Session(Protocol):
    """A network in a file, opened by a library.

    Attributes:
        runtime: name and version of the library.
        inputs: what it takes.
        outputs: what it gives.
        metadata: what the file says of itself.
    """

    runtime: str
    inputs: list[Port]
    outputs: list[Port]
    metadata: Mapping[str, str]

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs with these names; for those that are quantised, the values as float32."""
        ...


def listed(ports: list[Port]) -> str:
    """Inputs or outputs with type and shape, for a message."""
    return ', '.join(str(port) for port in ports) or 'nothing'
