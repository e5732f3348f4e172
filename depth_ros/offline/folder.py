# SPDX-License-Identifier: Apache-2.0
"""The folder of outputs while programs write to it: names of unfinished files, and a lock."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from depth_ros.core.errors import ConfigError, ImageError

_PART = re.compile(r'\.[0-9a-f]{8}\.part(\.\w+)?$')


def part_of(path: Path, suffix: str = '') -> Path:
    """A name beside `path` for what is not whole yet, which no other writer has.

    Two processes can write the same output at once: one of them was taken for dead. With a
    common name, one would rename what the other is still writing.

    Args:
        path: of the output.
        suffix: of the new name, where a library chooses the format by it.
    """
    return path.with_name(f'{path.name}.{uuid.uuid4().hex[:8]}.part{suffix}')


def replace_folder(part: Path, path: Path) -> None:
    """Rename a folder, also where one of that name is there, or another process does the same.

    Raises:
        ImageError: it cannot be renamed.
    """
    error: OSError | None = None
    for _ in range(100):  # others may come first, but not so often
        try:
            os.replace(part, path)
            return
        except OSError as failure:
            error = failure
        old = part_of(path)
        with suppress(OSError):
            os.rename(path, old)
        shutil.rmtree(old, ignore_errors=True)
    raise ImageError(
        f'{path} cannot be written ({error}); choose another place with --output'
    ) from error


def remove_parts(folder: Path) -> None:
    """Remove what programs that were killed left unfinished; nothing may write to it now."""
    for where, folders, files in os.walk(folder):
        for name in [n for n in folders if _PART.search(n)]:
            folders.remove(name)
            shutil.rmtree(Path(where, name), ignore_errors=True)
        for name in files:
            if _PART.search(name):
                Path(where, name).unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs away from a folder; the system ends the lock with the process.

    Where the file system has no locks for folders (NFS), nothing is locked.

    Raises:
        ConfigError: another run writes to it.
        ImageError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ImageError(
            f'{folder} cannot be written ({error.strerror}); choose another place with --output'
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f'another run writes to --output {folder}: wait for it, or choose another folder'
            ) from None
        except OSError:
            pass  # of file systems without such locks
        yield
    finally:
        os.close(handle)
