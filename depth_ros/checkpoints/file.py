# SPDX-License-Identifier: Apache-2.0
"""Read one checkpoint file by torch or safetensors, without running any code it contains."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors
import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from depth_ros.core.errors import WeightsError


class Ignored:
    """Stands for an object whose content is not used, such as a number of numpy."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Do nothing; pickles set attributes with it."""


# What training programs store beside the tensors. The functions themselves are never called: those
# of numpy take types from the file, by which they read and free memory.
_IGNORED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (Ignored, name)
    for name in (
        'argparse.Namespace',  # the authors of DUSt3R store their command line
        'numpy.dtype',
        'numpy.ndarray',
        *(
            f'numpy.{core}.multiarray.{name}'
            for core in ('core', '_core')
            for name in ('scalar', '_reconstruct')
        ),
    )
]
# How torch names what it refuses to run or to create; pickles of protocol 4 and 5 begin with 149.
_CODE = re.compile(
    r'GLOBAL (\S+)|with (TorchScript) archives|legacy (\.tar) format|Unsupported (operand 149)'
    r'|must be imported to load (\S+)'
)


def read_file(path: Path) -> Any:
    """Content of a safetensors or torch.save file, distinguished by content, not by suffix.

    Tensors are on the CPU, in memory that does not depend on the file: a mapped file that is
    overwritten or cut off kills the process (SIGBUS).

    Returns:
        Name -> tensor, or whatever was given to torch.save, in which objects that are not used are
        `Ignored`.

    Raises:
        WeightsError: the file is missing, damaged, no checkpoint, or needs code to be run.
    """
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
    _check_version(path, is_safetensors)
    try:
        return _read_safetensors(path) if is_safetensors else _read_torch(path)
    except Exception as error:  # a damaged byte makes torch raise KeyError, IndexError and more
        # of an UnpicklingError without the advice that torch.load adds: weights_only=False
        reason = str((isinstance(error, UnpicklingError) and error.__context__) or error)
        if code := _CODE.search(reason):
            name = ''.join(c if c.isprintable() else '?' for c in code[code.lastindex or 0])
            raise WeightsError(
                f'{path} is a pickle of more than tensors ({name[:80]}); reading it would run its '
                'code, which is refused. Convert it to safetensors where you trust it, or save '
                'the tensors alone: torch.save(network.state_dict(), path)'
            ) from error
        reason = f'{type(error).__name__}: {reason}'.partition('\n')[0][:200]
        raise WeightsError(f'{path} is truncated or broken ({reason}); {again}') from error


def _check_version(path: Path, is_safetensors: bool) -> None:
    """Refuse what the libraries here cannot read safely; colcon does not check versions."""
    if is_safetensors and TorchVersion(safetensors.__version__) < '0.8':
        raise WeightsError(
            f'{path} needs safetensors 0.8 or newer, and {safetensors.__version__} is installed: '
            'pip install --upgrade safetensors'
        )
    if not is_safetensors and torch.__version__ < '2.10':
        raise WeightsError(
            f'{path} is a pickle, with which torch {torch.__version__} can be made to run code '
            '(CVE-2025-32434, CVE-2026-24747); install torch 2.10 or newer, or set weights to a '
            '.safetensors file'
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with safetensors.safe_open(path, 'pt', backend='pread') as file:  # not mapped
        return {name: file.get_tensor(name) for name in file.offset_keys()}


def _read_torch(path: Path) -> Any:
    # opened here, as torch.load takes the suffix .safetensors for the content
    with path.open('rb') as file, torch.serialization.safe_globals(_IGNORED):
        return torch.load(file, map_location='cpu', weights_only=True, mmap=False)
