# SPDX-License-Identifier: Apache-2.0
"""What the node takes from the machine: memory, threads, open files, shared memory."""

from __future__ import annotations

import contextlib
from pathlib import Path

from depth_ros.ros.process.shared_memory import SHARED
from tools.bench.graph import memory_mb
from tools.bench.segments import existing, megabytes, segments


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
    values = {'rss_mb': memory['rss'], 'pss_mb': memory['pss'], **_resident(folder)}
    values |= {'threads': threads, 'files': files}
    with contextlib.suppress(OSError, ValueError):
        used, free = allocator.read_text().split()
        values |= {
            'in_use_mb': round(int(used) / 2**20, 2),
            'kept_mb': round(int(free) / 2**20, 2),
        }
    return values


def _resident(process: Path) -> dict[str, float]:
    """Parts of `rss_mb`: heap and stacks, mapped files, shared memory [MB]."""
    names = {'RssAnon': 'anonymous_mb', 'RssFile': 'mapped_mb', 'RssShmem': 'shared_mb'}
    lines = (line.split() for line in (process / 'status').read_text().splitlines())
    found = {words[0][:-1]: words for words in lines}
    return {
        ours: round(int(found[name][1]) / 1024, 2) for name, ours in names.items() if name in found
    }


def own_segments(pid: int) -> set[Path]:
    """Segments of Fast DDS that a process has made, with the small files that it has locked."""
    locked = set()
    for line in Path('/proc/locks').read_text().splitlines():
        words = line.split()
        if words[1] == 'FLOCK' and words[3] == 'WRITE' and words[4] == str(pid):
            locked.add(int(words[5].rpartition(':')[2]))
    own = set()
    for path in segments():
        with contextlib.suppress(OSError):  # it was removed meanwhile
            is_lock = path.name.endswith('_el') and '_port' not in path.name
            if is_lock and path.stat().st_ino in locked:
                own |= {path, path.with_name(path.name.removesuffix('_el'))}
    return own


def shared_memory(processes: dict[str, int]) -> str:
    """Who has which file of Fast DDS open, mapped and locked; with inodes, as names are reused.

    Args:
        processes: name -> process id.
    """
    lines = ['files: inode, bytes, name']
    for path in sorted(SHARED.glob('fast*')):
        with contextlib.suppress(OSError):
            about = path.stat()
            lines.append(f'  {about.st_ino} {about.st_size} {path.name}')
    for name, pid in processes.items():
        folder = Path(f'/proc/{pid}')
        with contextlib.suppress(OSError):
            opened = {}
            for handle in (folder / 'fd').iterdir():
                with contextlib.suppress(OSError):
                    if 'fast' in (target := str(handle.readlink())) and 'shm' in target:
                        opened[handle.stat().st_ino] = target
            mapped = sorted({
                f'{words[4]} {" ".join(words[5:])}'
                for words in map(str.split, (folder / 'maps').read_text().splitlines())
                if len(words) > 5 and '/dev/shm/fast' in words[5]
            })  # fmt: skip
            lines += [f'{name}, process {pid}: open']
            lines += [f'  {inode} {target}' for inode, target in sorted(opened.items())]
            lines += ['  mapped', *(f'    {line}' for line in mapped)]
    locks = Path('/proc/locks').read_text()
    return '\n'.join([*lines, 'locks: kind, process, device and inode', locks])


def leftovers(paths: set[Path]) -> dict[str, float]:
    """Number and size of those that still exist."""
    left = existing(paths)
    return {'files': len(left), 'mb': megabytes(left)}
