# SPDX-License-Identifier: Apache-2.0
"""Read the quantisation of the inputs and outputs of a TFLite file.

OpenVINO, which runs these files, passes the integers on and does not say what they stand for. The
file is a FlatBuffer: tables whose fields are found by their number in the schema of TensorFlow
Lite (schema.fbs). Only the few fields below are read, and every offset is checked.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

from depth_ros.core.errors import WeightsError
from depth_ros.models.onnx.session import Quantisation

IDENTIFIER = b'TFL3'  #: at byte 4 of each such file

# numbers of the fields: of Model, SubGraph, Tensor and QuantizationParameters
_SUBGRAPHS = 2
_TENSORS, _INPUTS, _OUTPUTS = 0, 1, 2
_NAME, _QUANTISATION = 3, 4
_SCALE, _ZERO_POINT = 2, 3


def is_tflite(path: Path) -> bool:
    """Whether a file has the identifier of TFLite.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        with path.open('rb') as file:
            return file.read(8)[4:] == IDENTIFIER
    except OSError as error:
        raise WeightsError(
            f'{path} cannot be read ({error.strerror}); make it readable, or download it again'
        ) from error


def read_quantisations(path: Path) -> dict[str, Quantisation]:
    """Quantisation of the inputs and outputs of the first network in the file, by their names.

    Raises:
        WeightsError: the file is damaged, or an input or output is quantised in a way that no
            image or depth map is.
    """
    buffer = _Buffer(path.read_bytes())
    try:
        network = buffer.tables(buffer.target(0), _SUBGRAPHS)[0]
        tensors = buffer.tables(network, _TENSORS)
        used = buffer.numbers(network, _INPUTS, 'i') + buffer.numbers(network, _OUTPUTS, 'i')
        found: dict[str, Quantisation] = {}
        for index in used:
            tensor = tensors[index]
            quantisation = buffer.table(tensor, _QUANTISATION)
            scales = buffer.numbers(quantisation, _SCALE, 'f') if quantisation else ()
            if not scales:
                continue
            zeros = buffer.numbers(quantisation, _ZERO_POINT, 'q') or (0,)
            name = buffer.text(tensor, _NAME)
            if len(scales) > 1 or not (math.isfinite(scales[0]) and scales[0] > 0):
                raise WeightsError(
                    f'{path}: {name} has the quantisation scales {list(scales)[:4]}, and an image '
                    'or a depth map has one, above 0: convert the network again with one'
                )
            found[name] = Quantisation(scales[0], zeros[0])
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise WeightsError(
            f'{path} is a damaged TFLite file ({error}); download or convert it again'
        ) from error
    return found


class _Buffer:
    """A FlatBuffer. A table is the position of its first byte; 0 stands for one that is absent."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def _read(self, kind: str, position: int, count: int = 1) -> tuple[Any, ...]:
        if position < 0 or count > len(self._data):
            raise IndexError(f'an offset points to byte {position}')
        return struct.unpack_from(f'<{count}{kind}', self._data, position)

    def target(self, position: int) -> int:
        """Where the offset at `position` points to."""
        return int(position + self._read('I', position)[0])

    def _field(self, table: int, number: int) -> int:
        """Position of a field of a table; 0 if it is absent."""
        layout = table - self._read('i', table)[0]
        if 4 + 2 * number >= self._read('H', layout)[0]:
            return 0
        offset = self._read('H', layout + 4 + 2 * number)[0]
        return int(table + offset) if offset else 0

    def table(self, table: int, number: int) -> int:
        """The table that is a field of another."""
        field = self._field(table, number)
        return self.target(field) if field else 0

    def numbers(self, table: int, number: int, kind: str) -> tuple[Any, ...]:
        """A vector; `kind` is that of `struct`."""
        start = self.table(table, number)
        return self._read(kind, start + 4, self._read('I', start)[0]) if start else ()

    def tables(self, table: int, number: int) -> list[int]:
        """A vector of tables."""
        start = self.table(table, number)
        count = len(self.numbers(table, number, 'I'))
        return [self.target(start + 4 + 4 * k) for k in range(count)]

    def text(self, table: int, number: int) -> str:
        """A string, as UTF-8."""
        return bytes(self.numbers(table, number, 'B')).decode()
