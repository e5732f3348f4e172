# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of several files: model-00001-of-00002.safetensors ... with an index."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from depth_ros.core.errors import WeightsError

INDEX = '.index.json'  #: end of the name of an index, as in model.safetensors.index.json
_PART = re.compile(r'(?P<stem>.+)-\d+-of-(?P<count>\d+)(?P<suffix>\.\w+)')


def is_part(path: Path) -> bool:
    """Whether a file is by its name one of several."""
    return _PART.fullmatch(path.name) is not None


def index_of(part: Path) -> Path:
    """The index beside a file for which `is_part` holds.

    Raises:
        WeightsError: there is none.
    """
    match = _PART.fullmatch(part.name)
    assert match is not None
    index = part.with_name(match['stem'] + match['suffix'] + INDEX)
    if not index.is_file():
        raise WeightsError(
            f'weights: {part} is one of {int(match["count"])} files of a checkpoint, and '
            f'{index.name} is missing beside it; download it and all of them into one folder'
        )
    return index


def find_index(folder: Path, suffixes: Iterable[str]) -> Path | None:
    """The index of a checkpoint in `folder`, of the first of `suffixes` that has one."""
    for suffix in suffixes:
        if found := sorted(folder.glob(f'*{suffix}{INDEX}')):
            return found[0]
    return None


def parts_of(index: Path) -> dict[str, set[str]]:
    """File -> names of its tensors, as an index states.

    Raises:
        WeightsError: the file cannot be read, or is no index of files in its folder.
    """
    try:
        names = json.loads(index.read_text())['weight_map']
        parts: dict[str, set[str]] = {}
        for name, file in names.items():
            if Path(file).name != file:
                raise ValueError(f'{file!r:.80} is not in its folder')
            parts.setdefault(file, set()).add(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f'{index} is no index of a checkpoint ({type(error).__name__}: {error}); download it '
            'again'
        ) from error
    if not parts:
        raise WeightsError(f'{index} names no files; download it again')
    return parts
