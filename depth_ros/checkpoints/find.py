# SPDX-License-Identifier: Apache-2.0
"""Find or download the checkpoint of a preset."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from depth_ros.checkpoints.cache import checksum
from depth_ros.checkpoints.download import cached, fetch
from depth_ros.checkpoints.hub import check_licence, download
from depth_ros.checkpoints.parts import find_index, index_of, is_part
from depth_ros.checkpoints.source import Source
from depth_ros.core.errors import ConfigError, WeightsError

log = logging.getLogger(__name__)

#: suffixes of files; hub ids do not end with them
_WEIGHT_SUFFIXES = (
    '.safetensors', '.pth', '.pt', '.bin', '.ckpt', '.onnx', '.tflite', '.xml', '.json',
)  # fmt: skip
_HUB_ID = re.compile(r'[\w][\w.-]*/[\w][\w.-]*')


def find_weights(weights: str, source: Source, licence_accepted: bool = False) -> Path | None:
    """Path of the checkpoint file; it is downloaded to a cache if necessary.

    Args:
        weights: '' for the preset's published weights; or a file, a folder, or a hub id
            owner/name.
        source: published weights of the preset.
        licence_accepted: the user accepts a licence that restricts use.

    Returns:
        The file; None for presets without weights.

    Raises:
        ConfigError: weights were given to a preset that has none.
        WeightsError: the file, folder or hub repository does not exist or cannot be reached, or
            its licence was not accepted.
    """
    if not weights and (source.packaged or not source.needed):
        return source.packaged
    if not source.needed:
        raise ConfigError(
            f'weights is {weights!r} but {source.preset} has no weights; leave it empty'
        )
    by_hand = f'download {source.url}, unzip it and set weights:=<folder>, or to the zip itself'
    if not weights:
        if source.url:
            if not cached(source.url):
                check_licence(source, licence_accepted)
                log.info('downloading %s; licence: %s', source.url, source.licence)
            # the sha256 of a zip is that of the checkpoint within
            return fetch(source.url, source.md5, '' if source.is_zip else source.sha256)
        if not source.repo:
            raise WeightsError(
                f'{source.preset} has no published weights; set weights to your .onnx, .tflite or '
                '.xml file'
            )
        return download(source.repo, source, licence_accepted)
    # os.path accepts any text as a path; pathlib raises for ~name if there is no such user
    path = Path(os.path.expanduser(weights))
    if os.path.isdir(path):
        return _in_folder(path, source)
    if os.path.isfile(path):
        if is_part(path):
            return index_of(path)
        published = source.sha256 if path.name == source.file else ''
        if published and checksum(path, 'sha256') != published:
            log.warning('%s is not the published file of that name (sha256 differs)', path)
        return path
    if source.is_zip or not _HUB_ID.fullmatch(weights) or path.suffix in _WEIGHT_SUFFIXES:
        remedy = by_hand if source.is_zip else 'give a file, a folder or a hub id owner/name'
        raise WeightsError(f'weights: {path.absolute()} does not exist; {remedy}')
    return download(weights, source, licence_accepted)


def _in_folder(folder: Path, source: Source) -> Path:
    if source.file and (folder / source.file).is_file():
        return folder / source.file
    found = sorted(p for p in folder.iterdir() if p.suffix in source.suffixes and p.is_file())
    parts = [p for p in found if is_part(p)]
    if parts and len(parts) == len(found):
        return find_index(folder, source.suffixes) or index_of(parts[0])
    if len(found) == 1:
        return found[0]
    none = 'no ' + ' or '.join(f'*{suffix}' for suffix in source.suffixes)
    content = ', '.join(p.name for p in found) or none
    published = f' and no {source.file}' if source.file else ''
    raise WeightsError(
        f'weights: {folder.absolute()} holds {content}{published}; set weights to one file'
    )
