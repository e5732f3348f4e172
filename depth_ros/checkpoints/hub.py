# SPDX-License-Identifier: Apache-2.0
"""Downloads from the Hugging Face hub, or from what its client keeps of earlier ones."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path

from depth_ros.checkpoints.source import Source
from depth_ros.core.errors import WeightsError

log = logging.getLogger(__name__)

#: Names many publishers use, which say nothing about the content.
GENERIC_FILES = ('model.safetensors', 'pytorch_model.bin')

_SPACE_FOLDER = re.compile(r'spaces/([^/]+/[^/]+)/tree/main/(.+)')


def download(repo: str, source: Source, licence_accepted: bool = False) -> Path:
    """`source.file` (or the usual name) of a hub repository, from its cache or the network.

    Args:
        repo: hub id; the source's own, or another with the same kind of checkpoint.
        source: of what is to be loaded.
        licence_accepted: the user agrees to the licence where it restricts use.

    Raises:
        WeightsError: there is no such repository or file, it may not be read or cannot be
            reached, its content is not the published one, or its licence was not accepted.
    """
    own = repo == source.repo
    usual = f'model{source.suffixes[0]}'
    names = [source.file] if own else list(dict.fromkeys(filter(None, (source.file, usual))))
    path = _try(repo, names, own, cached=True)
    if path is None:
        ask_licence(source, licence_accepted)  # also for what others made of the same weights
        log.info('downloading %s from %s; licence: %s', names[0], repo, source.licence)
        path = _try(repo, names, own, cached=False)
    if path is None:
        raise WeightsError(
            f'{repo} has no {" and no ".join(names)}; set weights to a downloaded file'
        )
    if own and source.sha256 and checksum(path, 'sha256') != source.sha256:
        # the cache's name is a link: while its target stays, no download replaces it
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise WeightsError(
            f'{path}: sha256 is not that of the published {path.name}; it was deleted: start again'
            f', or download {source.file} by hand from https://huggingface.co/{repo} and set '
            'weights:=<path>'
        )
    return path


def ask_licence(source: Source, accepted: bool) -> None:
    """Refuse to download what may not be used for everything, until the user agrees.

    Raises:
        WeightsError: the licence restricts use and was not accepted.
    """
    if source.restricted and not accepted:
        raise WeightsError(
            f'the weights of {source.preset} are licensed {source.licence!r}, which restricts '
            'their use. If you agree, set accept_licence to true and they are downloaded, or '
            f'download {source.url or source.repo} and set weights:=<path>'
        )


def _try(repo: str, names: list[str], own: bool, cached: bool) -> Path | None:
    """The first of `names` there is; None if there is none."""
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError as error:
        raise WeightsError(
            f'{repo} is on the Hugging Face hub: pip install huggingface_hub, or download '
            f'{names[0]} by hand and set weights:=<path>'
        ) from error
    remedy = (
        f'download {names[0]} by hand from https://huggingface.co/{repo} and set weights:=<path>'
    )
    where, kind, folder = _place(repo)
    offline: Exception | None = None
    for name in names:
        try:
            path = hf_hub_download(
                where, name, repo_type=kind, subfolder=folder, local_files_only=cached
            )
        except errors.GatedRepoError as error:
            raise WeightsError(
                f'{repo}: accept the licence on the hub and run hf auth login, or {remedy}'
            ) from error
        except errors.RepositoryNotFoundError as error:
            nor = '' if own else f', and {Path(repo).absolute()} is no file either'
            raise WeightsError(
                f'{repo} is not on the hub, or private{nor}; or {remedy}'
            ) from error
        except errors.LocalEntryNotFoundError as error:
            offline = error  # the next name may be in the cache
            continue
        except errors.EntryNotFoundError:
            log.debug('%s has no %s', repo, name)
            continue
        except Exception as error:  # the hub's client raises its HTTP library's errors as they are
            # its first line only: the others advise what can be done in Python
            reason = f'{type(error).__name__}: {error}'.partition('\n')[0]
            raise WeightsError(
                f'{repo}: {name} failed ({reason}); start again, or {remedy}'
            ) from error
        if not own and not cached and name in GENERIC_FILES:
            _config_too(repo)
        return Path(path)
    if offline and not cached:
        raise WeightsError(
            f'{repo}: cannot reach the hub, and its cache lacks {" and ".join(names)}; {remedy}'
        ) from offline
    return None


def _config_too(repo: str) -> None:
    """config.json tells which variant a file of a generic name is; a help, not a need."""
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(repo, 'config.json')
    except Exception as error:  # as above
        log.debug('%s: no config.json (%s)', repo, error)


def _place(repo: str) -> tuple[str, str | None, str | None]:
    """Hub id, kind and folder of a hub id, or of the address of a folder of a Space."""
    match = _SPACE_FOLDER.fullmatch(repo)
    return (match[1], 'space', match[2]) if match else (repo, None, None)


def checksum(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file; `algorithm` as in hashlib."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
