# SPDX-License-Identifier: Apache-2.0
"""Download one file from a publisher's server; interrupted downloads are resumed."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import logging
import os
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from depth_ros.checkpoints.cache import cache_directory, checksum
from depth_ros.checkpoints.connection import try_connection
from depth_ros.core.errors import WeightsError

log = logging.getLogger(__name__)

ATTEMPTS = 4  #: connections per download, each resumes where the previous one broke
TIMEOUT_S = 30.0
_BLOCK = 1 << 18  # bytes


def cached(url: str) -> Path | None:
    """Path of the file at `url` if it is in the cache, else None."""
    path = cache_directory() / unquote(url.rpartition('/')[2])
    return path if path.is_file() else None


def fetch(url: str, md5: str = '', sha256: str = '') -> Path:
    """Path of the file at `url`, from the cache or downloaded.

    Args:
        url: address of one file.
        md5: its expected checksum; '' if not known.
        sha256: the same, also of a file in the cache.

    Raises:
        WeightsError: the cache cannot be written, the server cannot be reached or lacks the file,
            the connection breaks `ATTEMPTS` times, or the content is wrong.
    """
    if path := _intact(url, sha256):
        return path
    path = cache_directory() / unquote(url.rpartition('/')[2])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(
            f'{path.parent} cannot be created ({error.strerror}): set DEPTH_ROS_CACHE to a '
            f'writable folder, or download {url} by hand and set weights:=<path>'
        ) from error
    part = path.with_name(path.name + '.part')
    with _locked(path.parent):
        return _intact(url, sha256) or _fetch(url, {'md5': md5, 'sha256': sha256}, part, path)


def _intact(url: str, sha256: str) -> Path | None:
    """Path of the file in the cache, if it is there with that checksum."""
    path = cached(url)
    if path is not None and sha256 and checksum(path, 'sha256') != sha256:
        log.warning('%s is not the published file (sha256 differs): it is downloaded again', path)
        return None
    return path


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out: two that start at once would write to one file."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info('another process is downloading to %s, waiting', folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _fetch(url: str, sums: Mapping[str, str], part: Path, path: Path) -> Path:
    _check_connection(url)
    for _ in range(ATTEMPTS):
        if _resume(url, part):
            break
        log.info('%s: connection lost at %.1f MB, resuming', url, part.stat().st_size / 1e6)
    else:
        raise WeightsError(
            f'{url}: connection lost {ATTEMPTS} times; {part} is kept, start again to resume'
        )
    for algorithm, published in sums.items():
        if published and checksum(part, algorithm) != published:
            part.unlink()
            raise WeightsError(
                f'{url}: {algorithm} is not that of the published file; it was deleted: start '
                'again'
            )
    if path.suffix == '.zip' and not _is_intact(part):  # for example a web page
        part.unlink()
        raise WeightsError(
            f'{url}: the download is no intact zip and was deleted: start again, or download it '
            'with a browser and set weights:=<path>'
        )
    part.rename(path)
    return path


def _is_intact(archive: Path) -> bool:
    """Whether a file is a zip whose members have the checksums it states."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError):
        return False


def _check_connection(url: str) -> None:
    """Refuse at once what would be waited for, where packets are dropped.

    Raises:
        WeightsError: no connection to the server can be opened.
    """
    try:
        try_connection(url)
    except OSError as error:
        raise WeightsError(
            f'{url} cannot be reached ({error}); download it elsewhere and set weights:=<path>'
        ) from error


def _resume(url: str, part: Path) -> bool:
    """Append the missing bytes to `part`; False if the connection was lost."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={'Range': f'bytes={have}-'} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            if response.status != 206:
                have = 0  # the server starts from the beginning
            total = have + int(response.headers.get('Content-Length') or 0)
            with part.open('ab' if have else 'wb') as file:
                logged = 0  # tenths
                while block := response.read(_BLOCK):
                    file.write(block)
                    have += len(block)
                    if total and have * 10 // total > logged:
                        logged = have * 10 // total
                        log.info('%s: %d %% of %.0f MB', part.stem, 10 * logged, total / 1e6)
        return have >= total
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the file was complete already
            return True
        raise WeightsError(
            f'{url}: HTTP error {error.code} {error.reason}; download it elsewhere and set '
            'weights:=<path>'
        ) from error
    except urllib.error.URLError as error:
        raise WeightsError(
            f'{url} cannot be reached ({error.reason}); download it elsewhere and set '
            'weights:=<path>'
        ) from error
    except (OSError, http.client.HTTPException) as error:
        log.debug('%s: %s', url, error)
        return False
