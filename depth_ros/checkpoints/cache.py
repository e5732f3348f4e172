# SPDX-License-Identifier: Apache-2.0
"""The folder of downloads, and checksums of large files, which are computed once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depth_ros.core.errors import WeightsError

log = logging.getLogger(__name__)
PART = '.part'  #: end of the names of what is being written
CHECKSUMS = 'checksums.json'  #: in the folder of downloads
#: a file that was changed later than this before its checksum can change again without a new time
SETTLED_S = 2.0


def cache_directory() -> Path:
    """Folder of downloads: $DEPTH_ROS_CACHE, else depth_ros in $XDG_CACHE_HOME or ~/.cache.

    Raises:
        WeightsError: this user has no home folder.
    """
    default = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache') / 'depth_ros'
    try:
        return Path(os.environ.get('DEPTH_ROS_CACHE') or default).expanduser()
    except RuntimeError as error:
        raise WeightsError(
            f'there is no folder for downloads ({error}): set DEPTH_ROS_CACHE to one that can be '
            'written'
        ) from error


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file so that other processes see it as a whole.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f'{path.name}.{os.getpid()}{PART}')
    part.write_text(f'{json.dumps(values, indent=1, sort_keys=True)}\n')
    os.replace(part, path)


def checksum(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file.

    The folder of downloads keeps it: a file with the same path, size and time of change is not
    read again, as a checkpoint of 2 GB takes seconds at each start.

    Args:
        path: of the file.
        algorithm: a name in hashlib, such as 'sha256'.
    """
    status = path.stat()
    key = f'{algorithm} {path.resolve()}'
    state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    memory = _memory()
    known = _read(memory).get(key) if memory else None
    if isinstance(known, list) and known[:-1] == state:
        return str(known[-1])
    computed = hashlib.new(algorithm, usedforsecurity=False)
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            computed.update(block)
    digest = computed.hexdigest()
    if memory and time.time() - status.st_ctime > SETTLED_S:
        _write(memory, _read(memory) | {key: [*state, digest]})
    return digest


def _memory() -> Path | None:
    try:
        return cache_directory() / CHECKSUMS
    except WeightsError:  # without a home folder all files are read each time
        return None


def _read(memory: Path) -> dict[str, Any]:
    """All that is known of files that are still there."""
    try:
        found = dict(json.loads(memory.read_text()))
    except (OSError, ValueError, TypeError):
        return {}
    return {key: value for key, value in found.items() if os.path.exists(key.partition(' ')[2])}


def _write(memory: Path, values: dict[str, Any]) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, values)
    except OSError as error:
        log.debug('checksums are not kept: %s', error)
