# SPDX-License-Identifier: Apache-2.0
"""What the node takes from the machine: memory, threads, open files, shared memory."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tools.bench.graph import memory_mb
from tools.bench.segments import existing, mapped_segments, megabytes, segments


def sample(pid: int, allocator: Path) -> dict[str, float]:
    """Memory [MB], threads and open files of a process; empty if it has ended.

    Args:
        pid: of the process.
        allocator: file of `tools.soak.node`; it may be missing.
    """
    try:
        folder = Path(f'/proc/{pid}')
        memory = memory_mb(pid)
        threads, files = (len([*(folder / name).iterdir()]) for name in ('task', 'fd'))
    except OSError:
        return {}
    if 'rss' not in memory:
        return {}  # it is ending
    values = {'rss_mb': memory['rss'], 'pss_mb': memory['pss']}
    values |= {'threads': threads, 'files': files}
    with contextlib.suppress(OSError, ValueError):
        used, free = allocator.read_text().split()
        values |= {
            'in_use_mb': round(int(used) / 2**20, 2),
            'kept_mb': round(int(free) / 2**20, 2),
        }
    return values


def own_segments(pid: int) -> set[Path]:
    """Segments of Fast DDS that a process has mapped; without ports, which processes share."""
    try:
        return {path for path in mapped_segments(pid) if '_port' not in path.name}
    except OSError:
        return set()


def all_segments() -> set[Path]:
    """Segments of Fast DDS of all processes of this machine, without ports."""
    return {path for path in segments() if '_port' not in path.name}


def leftovers(paths: set[Path]) -> dict[str, float]:
    """Number and size of those that still exist."""
    left = existing(paths)
    return {'files': len(left), 'mb': megabytes(left)}
