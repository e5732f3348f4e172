# SPDX-License-Identifier: Apache-2.0
"""Download of one file from a publisher's own server, resumed where it broke off."""

from __future__ import annotations

import http.client
import logging
import os
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import unquote

from depth_ros.checkpoints.hub import checksum
from depth_ros.core.errors import WeightsError

log = logging.getLogger(__name__)

ATTEMPTS = 4  #: a broken connection is taken up again this often
TIMEOUT_S = 30.0
_BLOCK = 1 << 18


def cache_directory() -> Path:
    """Where downloads stay: $DEPTH_ROS_CACHE, else depth_ros in $XDG_CACHE_HOME or ~/.cache."""
    usual = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache') / 'depth_ros'
    return Path(os.environ.get('DEPTH_ROS_CACHE') or usual).expanduser()


def cached(url: str) -> Path | None:
    """The file at `url` if it was downloaded before."""
    path = cache_directory() / unquote(url.rpartition('/')[2])
    return path if path.is_file() else None


def fetch(url: str, md5: str = '') -> Path:
    """The file at `url`, from the cache or the network.

    Args:
        url: of one file.
        md5: its checksum, where known.

    Raises:
        WeightsError: the server cannot be reached or does not have it, the connection breaks again
            and again, the content is not the published one, or there is no room for it.
    """
    path = cached(url)
    if path is not None:
        return path
    path = cache_directory() / unquote(url.rpartition('/')[2])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(
            f'{path.parent} cannot be made ({error.strerror}): set DEPTH_ROS_CACHE to a folder '
            f'that can be written, or download {url} by hand and set weights:=<path>'
        ) from error
    part = path.with_name(path.name + '.part')
    for _ in range(ATTEMPTS):
        if _continue(url, part):
            break
        log.info('%s broke off at %.1f MB, taken up again', url, part.stat().st_size / 1e6)
    else:
        raise WeightsError(
            f'{url} broke off {ATTEMPTS} times; what came is kept in {part}: start again later'
        )
    if md5 and checksum(part, 'md5') != md5:
        part.unlink()
        raise WeightsError(f'{url}: md5 is not that of the published file; it was deleted')
    if path.suffix == '.zip' and not zipfile.is_zipfile(part):  # a web page, say
        part.unlink()
        raise WeightsError(
            f'{url}: what came is no zip; it was deleted: start again, or download it '
            'elsewhere and set weights:=<path>'
        )
    part.rename(path)
    return path


def _continue(url: str, part: Path) -> bool:
    """Append what is missing to `part`; False if the connection broke."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={'Range': f'bytes={have}-'} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            if answer.status != 206:
                have = 0  # the server starts from the beginning
            total = have + int(answer.headers.get('Content-Length') or 0)
            with part.open('ab' if have else 'wb') as file:
                shown = 0
                while block := answer.read(_BLOCK):
                    file.write(block)
                    have += len(block)
                    if total and have * 10 // total > shown:
                        shown = have * 10 // total
                        log.info('%s: %d %% of %.0f MB', part.stem, 10 * shown, total / 1e6)
        return have >= total
    except urllib.error.HTTPError as error:
        if error.code == 416:  # all of it was there already
            return True
        raise WeightsError(
            f'{url}: the server says {error.code} {error.reason}; download it elsewhere and set '
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
