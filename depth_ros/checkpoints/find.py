# SPDX-License-Identifier: Apache-2.0
"""Where a preset's checkpoint is: a file, a folder, the hub, or its publisher's server."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from depth_ros.checkpoints.download import cached, fetch
from depth_ros.checkpoints.hub import ask_licence, checksum, download
from depth_ros.checkpoints.source import Source
from depth_ros.core.errors import ConfigError, WeightsError

log = logging.getLogger(__name__)

#: of files, which no hub id ends with
_WEIGHT_SUFFIXES = ('.safetensors', '.pth', '.pt', '.bin', '.ckpt', '.onnx')
_HUB_ID = re.compile(r'[\w][\w.-]*/[\w][\w.-]*')


def find_weights(weights: str, source: Source, licence_accepted: bool = False) -> Path | None:
    """The checkpoint file, downloaded to the hub's cache if it has to be.

    Args:
        weights: '' for the preset's own source, or a file, a folder, or a hub id owner/name.
        source: of the preset that is to be loaded.
        licence_accepted: the user agrees to a licence that restricts use.

    Returns:
        The file; None for presets that need none.

    Raises:
        ConfigError: the preset takes no weights.
        WeightsError: there is no such file, folder or hub repository, it cannot be reached, or its
            licence was not accepted.
    """
    if not weights and (source.packaged or not source.needed):
        return source.packaged
    if not source.needed:
        raise ConfigError(f'weights is {weights!r}, but {source.preset} has none; leave it empty')
    by_hand = f'download {source.url}, unzip it and set weights:=<folder>, or to the zip itself'
    if not weights:
        if source.url:
            if not cached(source.url):
                ask_licence(source, licence_accepted)
                log.info('downloading %s; licence: %s', source.url, source.licence)
            return fetch(source.url, source.md5)
        if not source.repo:
            raise WeightsError(
                f'{source.preset} has no weights of its own; set weights to the .onnx file'
            )
        return download(source.repo, source, licence_accepted)
    # those of os.path take any text for a path, pathlib's raise where there is no such user
    path = Path(os.path.expanduser(weights))
    if os.path.isdir(path):
        return _in_folder(path, source)
    if os.path.isfile(path):
        published = source.sha256 if path.name == source.file else ''
        if published and checksum(path, 'sha256') != published:
            log.warning('%s is not the published file of that name (sha256 differs)', path)
        return path
    if source.url or not _HUB_ID.fullmatch(weights) or path.suffix in _WEIGHT_SUFFIXES:
        give = by_hand if source.url else 'give a file, a folder or a hub id owner/name'
        raise WeightsError(f'weights: {path.absolute()} does not exist; {give}')
    return download(weights, source, licence_accepted)


def _in_folder(folder: Path, source: Source) -> Path:
    if source.file and (folder / source.file).is_file():
        return folder / source.file
    found = sorted(p for p in folder.iterdir() if p.suffix in source.suffixes and p.is_file())
    if len(found) == 1:
        return found[0]
    no_file = 'no ' + ' or '.join(f'*{suffix}' for suffix in source.suffixes)
    what = ', '.join(p.name for p in found) or no_file
    named = f' and no {source.file}' if source.file else ''
    raise WeightsError(
        f'weights: {folder.absolute()} holds {what}{named}; set weights to one file'
    )
