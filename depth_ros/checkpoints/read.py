# SPDX-License-Identifier: Apache-2.0
"""Read the tensors of a checkpoint file without running any code it contains."""

from __future__ import annotations

import argparse
import json
import pickle
import re
import zipfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from depth_ros.checkpoints.families import guess_family
from depth_ros.core.errors import WeightsError

#: Values a checkpoint may hold in addition to tensors.
Value = bool | int | float | str | None

#: Classes that may be unpickled in addition to tensors, as they hold only names and values: the
#: authors of DUSt3R store their command line. Their content is not used.
_HARMLESS_CLASSES = [argparse.Namespace]

#: Dtypes of the published networks; narrower ones need a scale that the file does not give.
_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, on the CPU; memory-mapped where the format allows.

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
        if is_safetensors:
            content = load_file(path)
        else:
            # files of torch before 1.6 are no zip archives and cannot be mapped; given a path
            # instead of an open file, torch 2.15 goes by the suffix
            mapped = zipfile.is_zipfile(path) and path.suffix != '.safetensors'
            with _allow_harmless_classes(), path.open('rb') as file:
                content = torch.load(
                    path if mapped else file, map_location='cpu', weights_only=True, mmap=mapped
                )
    except pickle.UnpicklingError as error:
        if 'unexpected EOF' in str(error):  # so says torch 2.3
            raise WeightsError(f'{path} is truncated or broken (EOF); {again}') from error
        culprit = re.search(r'(?:GLOBAL|class) ([\w.]+)', str(error))
        name = culprit[1] if culprit else ''
        if name in [f'{c.__module__}.{c.__qualname__}' for c in _HARMLESS_CLASSES]:
            raise WeightsError(
                f'{path} also holds an {name}, which torch {torch.__version__} cannot read '
                'safely; install torch 2.5 or newer, or convert the file to safetensors with one'
            ) from error
        found = f' ({name})' if name else ''
        raise WeightsError(
            f'{path} is a pickle of more than tensors{found}; reading it would run its code, '
            'which is refused. Convert it to safetensors where you trust it'
        ) from error
    except Exception as error:  # a damaged byte makes torch raise KeyError, struct.error and more
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f'{path} is truncated or broken ({reason}); {again}') from error
    return _separate(content, path)


def _allow_harmless_classes() -> AbstractContextManager[None]:
    # new in torch 2.5; `read_with_values` says so where an older version refuses such a file
    allow = getattr(torch.serialization, 'safe_globals', None)
    allowed: AbstractContextManager[None] = allow(_HARMLESS_CLASSES) if allow else nullcontext()
    return allowed


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
        if isinstance(value, Tensor):
            if kind := _unusable_kind(value):
                raise WeightsError(
                    f'{path}: {name!r} is a {kind} tensor; {remedy}, in plain numbers'
                )
            tensors[str(name).removeprefix('module.')] = value
        elif isinstance(value, (bool, int, float, str, type(None))):
            values[str(name)] = value
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


def _unusable_kind(value: Tensor) -> str:
    """Why a tensor cannot be a layer's weights: its layout or dtype; '' if it can."""
    if value.is_meta:
        return 'meta'
    if value.is_nested:
        return 'nested'
    if value.layout is not torch.strided:
        return str(value.layout).removeprefix('torch.')
    return '' if value.dtype in _DTYPES else str(value.dtype).removeprefix('torch.')


def read_config(path: Path) -> dict[str, Any]:
    """Content of config.json in a checkpoint's folder; empty if it is missing or unreadable."""
    try:
        config = json.loads((path.parent / 'config.json').read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
