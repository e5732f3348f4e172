# SPDX-License-Identifier: Apache-2.0
"""Write weights as a safetensors file, with words about them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from depth_ros.checkpoints.cache import PART
from depth_ros.core.errors import WeightsError


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
    """The words that `write_weights` put into a file; tensors are not read.

    Returns:
        Name -> text; empty for any other file, and for one that is damaged.
    """
    try:
        with safetensors.safe_open(path, 'pt', backend='pread') as file:
            return dict(file.metadata() or {})
    except (OSError, safetensors.SafetensorError):  # whoever reads the tensors reports it
        return {}
