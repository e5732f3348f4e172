# SPDX-License-Identifier: Apache-2.0
"""Read the tensors of a checkpoint file without running any code it contains."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depth_ros.checkpoints.families import find_prefix, guess_family
from depth_ros.checkpoints.file import read_file
from depth_ros.checkpoints.parts import INDEX, parts_of
from depth_ros.core.errors import WeightsError

log = logging.getLogger(__name__)

#: Names of dictionaries of tensors that training programs use; preferred where there are several.
_USUAL = ('model', 'state_dict', 'model_state_dict')
_DEEPEST = 3  #: how far dictionaries within dictionaries are searched

#: Values a checkpoint may hold in addition to tensors.
Value = bool | int | float | str | None

#: Dtypes of the published networks; narrower ones need a scale that the file does not give.
_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, on the CPU, into memory that does not depend on the file.

    Tensors may be in a dictionary within others, such as `{'model': ...}`. A prefix that wrappers
    put before all names is removed where the family is recognised only without it. Numbers,
    strings and None are left out.

    Args:
        path: safetensors or torch.save file, distinguished by content, not by suffix; or the
            index (*.index.json) of several.

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
    if path.name.endswith(INDEX):
        return _separate(_read_parts(path), path)
    return _separate(read_file(path), path)


def read_with_entry(path: Path, name: str) -> tuple[dict[str, Tensor], object]:
    """As `read_checkpoint`, with an entry of the file that is beside the tensors.

    Returns:
        Name -> tensor, and whatever is stored as `name`; None if there is nothing.

    Raises:
        WeightsError: as `read_checkpoint`.
    """
    path = Path(path)
    content = _read_parts(path) if path.name.endswith(INDEX) else read_file(path)
    tensors, _ = _separate(content, path)
    return tensors, content.get(name)


def _read_parts(index: Path) -> dict[str, Tensor]:
    """Name -> tensor of all files that an index names."""
    tensors: dict[str, Tensor] = {}
    for file, names in parts_of(index).items():
        part = index.parent / file
        if not part.is_file():
            raise WeightsError(f'{index} names {file}, which is missing beside it; download it')
        content = read_file(part)
        if not isinstance(content, dict) or set(content) != names:
            raise WeightsError(
                f'{part} holds other tensors than {index.name} says; download both again'
            )
        tensors |= content
    return tensors


def _separate(content: object, path: Path) -> tuple[dict[str, Tensor], dict[str, Value]]:
    remedy = 'set weights to a file of the network alone'
    if not isinstance(content, dict):
        raise WeightsError(f'{path} holds a {type(content).__name__}, not named tensors; {remedy}')
    content = _unwrap(content, path)
    tensors: dict[str, Tensor] = {}
    values: dict[str, Value] = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            if kind := _unusable_kind(value):
                raise WeightsError(
                    f'{path}: {name!r} is a {kind} tensor; {remedy}, in plain numbers'
                )
            tensors[str(name)] = value.detach()  # also of a Parameter
        elif isinstance(value, (bool, int, float, str, type(None))):
            values[str(name)] = value
        elif isinstance(value, (dict, list, tuple)):  # of tensors, perhaps
            raise WeightsError(
                f'{path}: {name!r} is a {type(value).__name__}, not a tensor; {remedy}'
            )
    if not tensors:
        raise WeightsError(f'{path} holds no tensors; {remedy}')
    return _without_prefix(tensors, path), values


def _unwrap(content: dict[Any, Any], path: Path) -> dict[Any, Any]:
    """The dictionary of tensors within others, which hold the optimizer, the epoch and so on."""
    states: dict[str, dict[Any, Any]] = {}
    seen: set[int] = set()

    def search(values: dict[Any, Any], name: str) -> None:
        if id(values) in seen or name.count('.') > _DEEPEST:
            return
        seen.add(id(values))
        if any(isinstance(value, Tensor) for value in values.values()):
            states[name] = values
            return
        for key, value in values.items():
            if isinstance(value, dict):
                search(value, f'{name}.{key}' if name else str(key))

    search(content, '')
    known = [n for n, state in states.items() if _is_known(state)]
    candidates = known or list(states)
    usual = [n for n in candidates if n.rpartition('.')[2] in _USUAL]
    chosen = usual or candidates
    if len(chosen) > 1:
        raise WeightsError(
            f'{path} holds several sets of tensors: {", ".join(sorted(chosen)[:8])}; set weights '
            'to a file of one of them'
        )
    return states[chosen[0]] if chosen else content


def _is_known(state: dict[Any, Any]) -> bool:
    names = [_plain(str(name)) for name in state]
    return bool(guess_family(names) or find_prefix(names))


def _plain(name: str) -> str:
    """A name without the marks of torch.compile and of parallel training."""
    return name.replace('_orig_mod.', '').removeprefix('module.')


def _without_prefix(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    plain = {_plain(name): value for name, value in tensors.items()}
    prefix = find_prefix(plain)
    if prefix:
        log.info('%s: the prefix %r of its names is left out', path, prefix)
    bare = {name.removeprefix(prefix): value for name, value in plain.items()}
    if len(bare) != len(tensors):
        raise WeightsError(
            f'{path} holds tensors twice, with and without the prefixes of a wrapper; set weights '
            'to a file of the network alone'
        )
    return bare


def _unusable_kind(tensor: Tensor) -> str:
    """Why a tensor cannot be a layer's weights; '' if it can."""
    if tensor.is_meta or tensor.is_nested:
        return 'meta' if tensor.is_meta else 'nested'
    odd = [x for x in (tensor.layout, tensor.dtype) if x not in (torch.strided, *_DTYPES)]
    return str(odd[0]).removeprefix('torch.') if odd else ''


def read_config(path: Path) -> dict[str, Any]:
    """Content of config.json in a checkpoint's folder; empty if it is missing or unreadable."""
    try:
        config = json.loads((path.parent / 'config.json').read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
