# SPDX-License-Identifier: Apache-2.0
"""Read a safetensors file: a header of JSON, then the numbers of all tensors without gaps.

The package safetensors maps the file; see `storages`. The format is described at
https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO

import torch
from torch import Tensor

from depth_ros.checkpoints.storages import LARGEST, Damaged, Storages

LONGEST_HEADER = 100_000_000  #: limit of the format [bytes]
DTYPES = {
    'BOOL': torch.bool,
    'U8': torch.uint8,
    'I8': torch.int8,
    'I16': torch.int16,
    'I32': torch.int32,
    'I64': torch.int64,
    'F16': torch.float16,
    'BF16': torch.bfloat16,
    'F32': torch.float32,
    'F64': torch.float64,
    # read in order to say which tensor has it
    'F8_E4M3': torch.float8_e4m3fn,
    'F8_E5M2': torch.float8_e5m2,
}


def read(file: BinaryIO) -> dict[str, Tensor]:
    """Name -> tensor of a file that is open at its beginning.

    Raises:
        Damaged: the header is wrong, or the file is cut off.
    """
    storages = Storages(file)
    length = int.from_bytes(file.read(8), 'little')
    if length > min(LONGEST_HEADER, storages.size - 8):
        raise Damaged(f'its header would have {length} bytes')
    try:
        header = json.loads(file.read(length))
    except ValueError as error:
        raise Damaged(f'its header is no JSON: {error}') from error
    if not isinstance(header, dict):
        raise Damaged('its header is no table')
    header.pop('__metadata__', None)
    entries = {name: _entry(name, value) for name, value in header.items()}
    in_order = sorted(entries.items(), key=lambda item: item[1][2:])
    position = 0
    tensors = {}
    for name, (dtype, shape, begin, end) in in_order:
        if begin != position:
            raise Damaged(f'{name!r:.80} begins at {begin} instead of {position}')
        position = end
        tensors[name] = storages.allocate(math.prod(shape), dtype)
        storages.fill(tensors[name], 8 + length + begin)
    if 8 + length + position != storages.size:
        raise Damaged(f'{storages.size} bytes instead of {8 + length + position}')
    return {name: tensors[name].view(entries[name][1]) for name in entries}


def _entry(name: str, value: Any) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    """Dtype, shape, and the first and last byte + 1 of a tensor."""
    try:
        dtype, shape, (begin, end) = DTYPES[value['dtype']], value['shape'], value['data_offsets']
        if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
            raise ValueError('an entry is no natural number')
        if math.prod(shape) * dtype.itemsize != end - begin or end - begin > LARGEST:
            raise ValueError(f'{end - begin} bytes for shape {shape}')
    except (TypeError, KeyError, ValueError) as error:
        raise Damaged(f'{name!r:.80}: {type(error).__name__} {error}') from error
    return dtype, tuple(shape), begin, end
