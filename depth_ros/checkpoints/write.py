# SPDX-License-Identifier: Apache-2.0
"""Write weights as a safetensors file, with words about them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from depth_ros.checkpoints.cache import PART
from depth_ros.core.errors import WeightsError

MOST_HEADER = 100_000_000  #: bytes, as safetensors itself allows


def write_weights(
    path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a file so that other processes see it as a whole.

    Args:
        path: of the file.
        state: name -> tensor.
        metadata: further words, for `read_metadata`.

    Raises:
        WeightsError: it cannot be written.
    """
    part = path.with_name(f'{path.name}.{os.getpid()}{PART}')
    tensors = {name: value.detach().contiguous().cpu() for name, value in state.items()}
    try:
        save_file(tensors, part, {'format': 'pt', **(metadata or {})})
        part.chmod(0o644)  # safetensors makes it readable by the owner only
        part.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise WeightsError(
            f'{path} cannot be written ({error}): choose a folder that exists, can be written and '
            'has space'
        ) from error


def read_metadata(path: Path) -> dict[str, str]:
    """The words in the header of a safetensors file; tensors are not read.

    Returns:
        Name -> text; empty for any other file, and for one that is damaged.
    """
    try:
        if not path.is_file():
            return {}
        with path.open('rb') as file:
            length = int.from_bytes(file.read(8), 'little')
            if not 2 <= length <= min(MOST_HEADER, os.fstat(file.fileno()).st_size - 8):
                return {}
            # other files are left alone after a byte, also where the length is plausible
            head = file.read(1)
            found = json.loads(head + file.read(length - 1)) if head == b'{' else {}
    except (OSError, ValueError, RecursionError):  # whoever reads the tensors reports it
        return {}
    words = found.get('__metadata__') if isinstance(found, dict) else None
    return {k: str(v) for k, v in words.items()} if isinstance(words, dict) else {}
