# SPDX-License-Identifier: Apache-2.0
"""Read the tensors of a checkpoint file without running any code it contains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depth_ros.checkpoints import safetensors_file, torch_file
from depth_ros.checkpoints.families import guess_family
from depth_ros.checkpoints.storages import Damaged
from depth_ros.checkpoints.torch_file import HoldsCode, Ignored, Unusable
from depth_ros.core.errors import WeightsError

#: Values a checkpoint may hold in addition to tensors.
Value = bool | int | float | str | None

#: Dtypes of the published networks; narrower ones need a scale that the file does not give.
_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, on the CPU, into memory that does not depend on the file.

    The dictionary inside `{'model': ...}` or `{'state_dict': ...}` is used. A leading `module.` is
    removed from names, and a leading `model.` if all names have it and the family is recognised
    only without it. Numbers, strings and None are left out.

    Args:
        path: safetensors or torch.save file; distinguished by content, not by suffix.

    Returns:
        Name -> tensor.

    Raises:
        WeightsError: the file is missing, damaged, no checkpoint, or needs code to be run.
    """
    return read_tensors_and_values(path)[0]


def read_tensors_and_values(path: Path) -> tuple[dict[str, Tensor], dict[str, Value]]:
    """As `read_checkpoint`, with the plain values that it leaves out.

    Returns:
        Name -> tensor, and name -> number, string or None.

    Raises:
        WeightsError: as `read_checkpoint`.
    """
    path = Path(path)
    again = 'download it again'
    if path.is_dir():
        raise WeightsError(f'weights: {path.absolute()} is a folder; set weights to one file')
    if not path.is_file():
        raise WeightsError(f'weights: {path.absolute()} does not exist')
    try:
        with path.open('rb') as file:
            head = file.read(64)
    except OSError as error:
        raise WeightsError(
            f'{path} cannot be read ({error.strerror}); make it readable, or {again}'
        ) from error
    if not head:
        raise WeightsError(f'{path} is empty; {again}')
    if head.startswith(b'version https://git-lfs'):
        raise WeightsError(
            f'{path} is a git-lfs pointer, not the file; run git lfs pull, or {again}'
        )
    # the length at the start of a safetensors file may look like text, except for its zero bytes
    if b'\0' not in head and head.lstrip().startswith((b'<', b'{')):
        raise WeightsError(
            f'{path} is a web page or text, not a checkpoint; {again} from its direct link'
        )
    is_safetensors = head[8:9] == b'{'
    if not is_safetensors and not head.startswith((b'PK', b'\x80')):
        raise WeightsError(
            f'{path} is neither safetensors nor a PyTorch file; set weights to one that is'
        )
    try:
        content = _content(path, is_safetensors)
    except HoldsCode as error:
        raise WeightsError(
            f'{path} is a pickle of more than tensors ({error}); reading it would run its code, '
            'which is refused. Convert it to safetensors where you trust it, or save the tensors '
            'alone: torch.save(network.state_dict(), path)'
        ) from error
    except Exception as error:  # a damaged byte makes pickles raise KeyError, IndexError and more
        reason = (str(error).splitlines() or [''])[0][:200]
        if not isinstance(error, Damaged):
            reason = f'{type(error).__name__}: {reason}'
        raise WeightsError(f'{path} is truncated or broken ({reason}); {again}') from error
    return _separate(content, path)


def _content(path: Path, is_safetensors: bool) -> Any:
    if not is_safetensors:
        return torch_file.read(path)
    with path.open('rb') as file:
        return safetensors_file.read(file)


def _separate(content: object, path: Path) -> tuple[dict[str, Tensor], dict[str, Value]]:
    remedy = 'set weights to a file of the network alone'
    for wrapper in ('model', 'state_dict'):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise WeightsError(f'{path} holds a {type(content).__name__}, not named tensors; {remedy}')
    tensors: dict[str, Tensor] = {}
    values: dict[str, Value] = {}
    for name, value in content.items():
        if kind := _unusable_kind(value):
            raise WeightsError(f'{path}: {name!r} is a {kind} tensor; {remedy}, in plain numbers')
        if isinstance(value, Tensor):
            tensors[str(name).removeprefix('module.')] = value
        elif isinstance(value, (bool, int, float, str, type(None))):
            values[str(name)] = value
        elif isinstance(value, Ignored):
            continue
        else:
            raise WeightsError(
                f'{path}: {name!r} is a {type(value).__name__}, not a tensor; {remedy}'
            )
    if not tensors:
        raise WeightsError(f'{path} holds no tensors; {remedy}')
    if guess_family(tensors) is None and all(name.startswith('model.') for name in tensors):
        inner = {name.removeprefix('model.'): value for name, value in tensors.items()}
        tensors = tensors if guess_family(inner) is None else inner
    return tensors, values


def _unusable_kind(value: object) -> str:
    """Why a tensor cannot be a layer's weights; '' if it can, or if it is no tensor."""
    if isinstance(value, Unusable):
        return value.kind
    if isinstance(value, Tensor) and value.dtype not in _DTYPES:
        return str(value.dtype).removeprefix('torch.')
    return ''


def read_config(path: Path) -> dict[str, Any]:
    """Content of config.json in a checkpoint's folder; empty if it is missing or unreadable."""
    try:
        config = json.loads((path.parent / 'config.json').read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
