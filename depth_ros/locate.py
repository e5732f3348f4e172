# SPDX-License-Identifier: Apache-2.0
"""Where a preset's checkpoint is: a file, a folder, the hub, or its publisher's server."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from depth_ros.errors import ConfigError, WeightsError
from depth_ros.fetch import cached, fetch
from depth_ros.hub import ask_licence, checksum, download
from depth_ros.models import Preset, name_of

log = logging.getLogger(__name__)

_SUFFIXES = ('.safetensors', '.pth', '.pt', '.bin', '.ckpt')
_HUB_ID = re.compile(r'[\w][\w.-]*/[\w][\w.-]*')


def locate(weights: str, preset: Preset, licence_accepted: bool = False) -> Path | None:
    """The checkpoint file, downloaded to the hub's cache if it has to be.

    Args:
        weights: '' for the preset's own source, or a file, a folder, or a hub id owner/name.
        preset: what is to be loaded.
        licence_accepted: the user agrees to a licence that restricts use.

    Returns:
        The file; None for presets that need none.

    Raises:
        ConfigError: the preset takes no weights.
        WeightsError: there is no such file, folder or hub repository, it cannot be reached, or its
            licence was not accepted.
    """
    if not weights and (preset.packaged or not preset.needs_weights):
        return preset.own_file
    if not preset.needs_weights:
        raise ConfigError(f'weights is {weights!r}, but {preset.family} has none; leave it empty')
    by_hand = f'download {preset.url}, unzip it and set weights:=<folder>, or to the zip itself'
    if not weights:
        if preset.url:
            if not cached(preset.url):
                ask_licence(preset, licence_accepted)
                log.info('downloading %s; licence: %s', preset.url, preset.licence)
            return fetch(preset.url, preset.md5)
        if not preset.repo:
            raise WeightsError(
                f'{name_of(preset)} has no weights of its own; set weights to the .onnx file'
            )
        return download(preset.repo, preset, licence_accepted)
    # those of os.path take any text for a path, pathlib's raise where there is no such user
    path = Path(os.path.expanduser(weights))
    if os.path.isdir(path):
        return _in_folder(path, preset)
    if os.path.isfile(path):
        published = preset.sha256 if path.name == preset.file else ''
        if published and checksum(path, 'sha256') != published:
            log.warning('%s is not the published file of that name (sha256 differs)', path)
        return path
    if preset.url or not _HUB_ID.fullmatch(weights) or path.suffix in (*_SUFFIXES, '.onnx'):
        give = by_hand if preset.url else 'give a file, a folder or a hub id owner/name'
        raise WeightsError(f'weights: {path.absolute()} does not exist; {give}')
    return download(weights, preset, licence_accepted)


def _in_folder(folder: Path, preset: Preset) -> Path:
    if preset.file and (folder / preset.file).is_file():
        return folder / preset.file
    suffixes = ('.onnx',) if preset.family == 'onnx' else _SUFFIXES
    found = sorted(p for p in folder.iterdir() if p.suffix in suffixes and p.is_file())
    if len(found) == 1:
        return found[0]
    what = ', '.join(p.name for p in found) or 'no ' + ' or '.join('*' + s for s in suffixes)
    named = f' and no {preset.file}' if preset.file else ''
    raise WeightsError(
        f'weights: {folder.absolute()} holds {what}{named}; set weights to one file'
    )
