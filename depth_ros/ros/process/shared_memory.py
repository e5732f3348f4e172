# SPDX-License-Identifier: Apache-2.0
"""Shared-memory segments of Fast DDS that killed processes left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

SHARED = Path('/dev/shm')
#: names of Fast DDS's files there begin with: 3, and 2 (up to Jazzy)
PREFIXES = ('fastdds_', 'fastrtps_')
#: the process of a younger lock file may not have locked it yet [s]
YOUNG_S = 0.5


def remove_dead(folder: Path = SHARED) -> int:
    """Remove the segments of this user's ended processes; returns their size [bytes].

    A running process holds a lock on the file named like its segment with `_el` at the end. A
    segment without a lock is dead; `fastdds shm clean` uses the same rule.
    """
    freed = 0
    for lock in (lock for prefix in PREFIXES for lock in folder.glob(f'{prefix}*_el')):
        with contextlib.suppress(OSError):  # it is in use, or was removed meanwhile
            if '_port' not in lock.name and _is_ours_and_old(lock):
                freed += _remove_if_dead(lock)
    return freed


def _is_ours_and_old(lock: Path) -> bool:
    about = lock.stat()
    return about.st_uid == os.getuid() and time.time() - about.st_mtime > YOUNG_S


def _remove_if_dead(lock: Path) -> int:
    """Remove a segment unless it is in use; returns its size [bytes].

    Raises:
        OSError: a process holds the lock.
    """
    with lock.open('r+b') as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        segment = lock.with_name(lock.name.removesuffix('_el'))
        freed = segment.stat().st_size if segment.exists() else 0
        segment.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
    return freed
