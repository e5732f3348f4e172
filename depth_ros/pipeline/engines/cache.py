# SPDX-License-Identifier: Apache-2.0
"""What the cache keeps of a network: exported files for each input size, and what was measured.

engines/<hash of all that the files depend on>/
description.json
measured.json
1x3x480x640/
files.json
network.onnx, network.onnx.data, and files of the engines
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depth_ros.checkpoints.cache import PART, write_json
from depth_ros.core.errors import ConfigError
from depth_ros.pipeline.engines import NETWORK

log = logging.getLogger(__name__)
DESCRIPTION = 'description.json'
MEASURED = 'measured.json'
FILES = 'files.json'  #: sizes of the files beside it
HOUR_S = 3600
UNUSED_S = 90 * 24 * HOUR_S  #: after which the folder of a network is removed


def folder_for(root: Path, description: Mapping[str, Any]) -> Path:
    """The folder of the cache for a network.

    Args:
        root: of the cache.
        description: all that its files depend on; it is written into the folder for people.

    Raises:
        ConfigError: the folder cannot be written.
    """
    text = json.dumps(description, indent=1, sort_keys=True)
    folder = root / 'engines' / hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / DESCRIPTION, description)
    except OSError as error:
        raise ConfigError(
            f'{folder} cannot be written ({error.strerror}), and exported networks are kept '
            'there: set DEPTH_ROS_CACHE to a folder that can be'
        ) from error
    _remove_parts(folder)
    _remove_unused(folder.parent)
    return folder


def check_space(folder: Path, parameters: int) -> None:
    """Refuse a disk without room for a network, unless the folder of its input size is there.

    Raises:
        ConfigError: with the space that it takes: in fp32, and once more as an engine keeps it.
    """
    needed, free = 2 * 4 * parameters, shutil.disk_usage(folder.parent).free
    if free < needed and not folder.exists():
        raise ConfigError(
            f'an exported network of {needed / 1e6:.0f} MB has no room in {folder.parent}, where '
            f'{free / 1e6:.0f} MB are free: free some, or set DEPTH_ROS_CACHE to a folder that '
            'has room'
        )


def read_measured(folder: Path, key: str) -> dict[str, Any]:
    """What `write_measured` wrote for a key; empty if there is nothing."""
    try:
        return dict(json.loads((folder / MEASURED).read_text())[key])
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def write_measured(folder: Path, key: str, values: Mapping[str, Any]) -> None:
    """Keep what was measured; a file that cannot be written is logged."""
    path = folder / MEASURED
    try:
        try:
            before = dict(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            before = {}
        write_json(path, before | {key: dict(values)})
    except OSError as error:
        log.warning('%s cannot be written (%s): the next start measures again', path, error)


def list_files(folder: Path) -> None:
    """Note the sizes of all files for an input size."""
    write_json(folder / FILES, _sizes(folder))


def is_whole(folder: Path) -> bool:
    """Whether all files are there with the sizes that `list_files` noted.

    A file that was cut, by lack of power or space, can end the process that opens it.
    """
    try:
        noted = dict(json.loads((folder / FILES).read_text()))
        return NETWORK in noted and noted.items() <= _sizes(folder).items()
    except (OSError, ValueError, TypeError):
        return False


def _sizes(folder: Path) -> dict[str, int]:
    inner = ((p.relative_to(folder), p) for p in folder.rglob('*') if p.is_file())
    return {
        str(name): path.stat().st_size
        for name, path in inner
        if str(name) != FILES and not any(part.endswith(PART) for part in name.parts)
    }


def _remove_unused(root: Path) -> None:
    """Remove folders of networks, or of versions of torch, that no start has used for long."""
    for path in root.glob(f'*/{DESCRIPTION}'):
        try:
            if time.time() - path.stat().st_mtime > UNUSED_S:  # each start writes it
                shutil.rmtree(path.parent)
                log.info('%s was not used for 90 days and is removed', path.parent)
        except OSError as error:
            log.debug('%s stays: %s', path.parent, error)


def _remove_parts(folder: Path) -> None:
    """Remove what processes have left that were killed while they wrote."""
    for part in list(folder.rglob(f'*{PART}')):
        try:
            if time.time() - part.stat().st_mtime < HOUR_S:
                continue
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        except OSError as error:
            log.debug('%s stays: %s', part, error)
