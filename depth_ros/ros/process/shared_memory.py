# SPDX-License-Identifier: Apache-2.0
"""What Fast DDS leaves behind when a process is killed: segments of tens of megabytes each."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

SHARED = Path('/dev/shm')
#: names of Fast DDS's files there begin with: 3, and 2 (up to Jazzy)
PREFIXES = ('fastdds_', 'fastrtps_')
#: a lock younger than this may be one that its process is about to take [s]
YOUNG_S = 0.5


def remove_dead(folder: Path = SHARED) -> int:
    """Remove the segments of this user's processes that are gone; how many bytes they took.

    A living process holds a lock on the file named like its segment with `_el` at the end. Where
    nobody does, the segment is dead; `fastdds shm clean` goes by the same.
    """
    freed = 0
    for lock in (lock for prefix in PREFIXES for lock in folder.glob(f'{prefix}*_el')):
        with contextlib.suppress(OSError):  # it lives, or went meanwhile
            if '_port' not in lock.name and _is_ours_and_old(lock):
                freed += _remove_if_dead(lock)
    return freed


def _is_ours_and_old(lock: Path) -> bool:
    about = lock.stat()
    return about.st_uid == os.getuid() and time.time() - about.st_mtime > YOUNG_S


def _remove_if_dead(lock: Path) -> int:
    """Bytes freed.

    Raises:
        OSError: somebody holds the lock.
    """
    with lock.open('r+b') as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        segment = lock.with_name(lock.name.removesuffix('_el'))
        freed = segment.stat().st_size if segment.exists() else 0
        segment.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
    return freed
