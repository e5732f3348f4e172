# SPDX-License-Identifier: Apache-2.0
"""Download checkpoints from the Hugging Face hub, or take them from its client's cache."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from urllib.parse import urlsplit

from depth_ros.checkpoints.cache import checksum
from depth_ros.checkpoints.connection import try_connection
from depth_ros.checkpoints.source import Source
from depth_ros.core.errors import WeightsError

log = logging.getLogger(__name__)

#: File names that many publishers use, so that they do not identify the content.
GENERIC_FILES = (
    'model.safetensors',
    'pytorch_model.bin',
    'model.safetensors.index.json',
    'pytorch_model.bin.index.json',
)

_SPACE_FOLDER = re.compile(r'spaces/([^/]+/[^/]+)/tree/main/(.+)')


def download(repo: str, source: Source, licence_accepted: bool = False) -> Path:
    """Path of a checkpoint in a hub repository, from the local cache or downloaded.

    Args:
        repo: hub id: `source.repo`, or another repository with the same kind of checkpoint.
        source: published weights of the preset.
        licence_accepted: the user accepts a licence that restricts use.

    Raises:
        WeightsError: the repository or file does not exist, is not accessible or cannot be
            reached, its sha256 is wrong, or its licence was not accepted.
    """
    is_published = repo == source.repo
    names = [source.file]
    if not is_published:
        names = list(dict.fromkeys(filter(None, (source.file, f'model{source.suffixes[0]}'))))
    revision = source.revision if is_published else ''
    path = find_first(repo, names, is_published, cached=True, revision=revision)
    if path is None or not all(path.with_name(name).is_file() for name in source.beside):
        check_licence(source, licence_accepted)  # also for other people's versions of the weights
        check_connection(repo, names)
        log.info('downloading %s from %s; licence: %s', names[0], repo, source.licence)
        path = find_first(repo, names, is_published, cached=False, revision=revision)
        for name in source.beside:
            find_first(repo, [name], is_published, cached=False, revision=revision)
    if path is None:
        raise WeightsError(
            f'{repo} has no {" and no ".join(names)}; set weights to a downloaded file'
        )
    if is_published and source.sha256 and checksum(path, 'sha256') != source.sha256:
        # the path is a link into the cache: while its target exists, nothing is downloaded again
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise WeightsError(
            f'{path}: sha256 is not that of the published {path.name}; it was deleted: start again'
            f', or download {source.file} by hand from https://huggingface.co/{repo} and set '
            'weights:=<path>'
        )
    return path


def check_licence(source: Source, accepted: bool) -> None:
    """Refuse to download weights whose licence restricts use before the user accepts it.

    Raises:
        WeightsError: the licence restricts use and was not accepted.
    """
    if source.restricted and not accepted:
        raise WeightsError(
            f'the weights of {source.preset} are licensed {source.licence!r}, which restricts '
            'their use. To accept it and download them, set accept_licence to true; or '
            f'download {source.url or source.repo} and set weights:=<path>'
        )


def find_first(
    repo: str, names: list[str], is_published: bool, *, cached: bool, revision: str = ''
) -> Path | None:
    """The first of some files that exists in the cache or repository; None if there is none.

    Args:
        repo: hub id, or that of a folder in a space.
        names: of the files.
        is_published: the repository is that of the preset, not one that the user named.
        cached: only look into the cache.
        revision: commit, branch or tag; '' for the newest.

    Raises:
        WeightsError: the repository does not exist, is not accessible or cannot be reached.
    """
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError as error:
        raise WeightsError(
            f'{repo} is on the Hugging Face hub: pip install huggingface_hub, or download '
            f'{names[0]} by hand and set weights:=<path>'
        ) from error
    remedy = _by_hand(repo, names)
    repo_id, repo_type, folder = _parse_repo(repo)
    offline: Exception | None = None
    for name in names:
        try:
            path = hf_hub_download(
                repo_id,
                name,
                repo_type=repo_type,
                subfolder=folder,
                local_files_only=cached,
                revision=revision or None,
            )
        except errors.GatedRepoError as error:
            raise WeightsError(
                f'{repo}: accept the licence on the hub and run hf auth login, or {remedy}'
            ) from error
        except errors.RevisionNotFoundError as error:
            raise WeightsError(
                f'{repo} has no revision {revision!r}: give a commit, branch or tag of it'
            ) from error
        except errors.RepositoryNotFoundError as error:
            nor = '' if is_published else f', and {Path(repo).absolute()} is no file either'
            raise WeightsError(
                f'{repo} is not on the hub, or private{nor}; or {remedy}'
            ) from error
        except errors.LocalEntryNotFoundError as error:
            offline = error  # the next name may be in the cache
            continue
        except errors.EntryNotFoundError:
            log.debug('%s has no %s', repo, name)
            continue
        except Exception as error:  # the hub's client passes on errors of its HTTP library
            # only the first line: the others give advice for Python code
            reason = f'{type(error).__name__}: {error}'.partition('\n')[0]
            raise WeightsError(
                f'{repo}: {name} failed ({reason}); start again, or {remedy}'
            ) from error
        if not is_published and not cached and name in GENERIC_FILES:
            _download_config(repo)
        return Path(path)
    if offline and not cached:
        raise WeightsError(
            f'{repo}: cannot reach the hub, and its cache lacks {" and ".join(names)}; {remedy}'
        ) from offline
    return None


def check_connection(repo: str, names: list[str]) -> None:
    """Refuse at once what the hub's client tries for half a minute.

    Raises:
        WeightsError: no connection to the hub can be opened.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:  # the client knows what to do
        return
    try:
        try_connection(constants.ENDPOINT)
    except OSError as error:
        raise WeightsError(
            f'{repo}: cannot reach the hub ({urlsplit(constants.ENDPOINT).netloc}: {error}), and '
            f'its cache lacks {" and ".join(names)}; {_by_hand(repo, names)}'
        ) from error


def _by_hand(repo: str, names: list[str]) -> str:
    return (
        f'download {names[0]} by hand from https://huggingface.co/{repo} and set weights:=<path>'
    )


def _download_config(repo: str) -> None:
    """Download config.json, which identifies the variant of a generic file name; optional."""
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(repo, 'config.json')
    except Exception as error:  # as above
        log.debug('%s: no config.json (%s)', repo, error)


def _parse_repo(repo: str) -> tuple[str, str | None, str | None]:
    """Hub id, repository type and folder; `repo` is a hub id or spaces/<id>/tree/main/<folder>."""
    match = _SPACE_FOLDER.fullmatch(repo)
    return (match[1], 'space', match[2]) if match else (repo, None, None)
