# SPDX-License-Identifier: Apache-2.0
"""Shared memory segments of Fast DDS that remain in /dev/shm after SIGTERM, Ctrl-C and SIGKILL.

Only segments that the node had mapped are counted, so that other processes have no influence.
Those of a killed node that the next one does not remove are deleted at the end.
"""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from depth_ros.ros.process.shared_memory import PREFIXES, SHARED
from tools.bench.graph import wait_for_log
from tools.demo.processes import Child, environment, own_domain, stop

ENDS = {'SIGTERM': signal.SIGTERM, 'Ctrl-C': signal.SIGINT, 'SIGKILL': signal.SIGKILL}


def run() -> list[dict[str, Any]]:
    """Measure a row for each signal, and one for the start after a kill."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        remaining: set[Path] = set()
        for name, number in ENDS.items():
            row, remaining = measure_end(name, number, out)
            rows.append(row)
        row, _ = measure_end('the next start, then SIGTERM', signal.SIGTERM, out)
        row['left_from_before'] = len(existing(remaining))
        row['left_from_before_mb'] = megabytes(existing(remaining))
        rows.append(row)
        for path in remaining:
            path.unlink(missing_ok=True)
    return rows


def measure_end(name: str, signum: int, folder: Path) -> tuple[dict[str, Any], set[Path]]:
    """Start a node, end it by a signal and count its segments; returns those that remain."""
    before = segments()
    # in a separate domain, so that ports of other processes are not counted
    env = {**environment(folder), 'ROS_DOMAIN_ID': str(own_domain(1))}
    node = Child('node', 'depth_ros.ros', ['model:=flat_wall'], folder, env)
    try:
        if not wait_for_log(node, 'listening to', 60.0):
            return {'end': name, 'failed': node.tail(3)}, set()
        mapped = mapped_segments(node.process.pid)
        size_mb = megabytes(existing(mapped))
        started = time.monotonic()
        node.process.send_signal(signum)
        code = node.process.wait(30)
        duration = time.monotonic() - started
    finally:
        stop([node])
    # segments that existed before are ports shared by the processes of a domain
    remaining = existing(mapped - before)
    row = {
        'end': name,
        'exit_code': code,
        'seconds': round(duration, 2),
        'before': len(before),
        'of_the_node': len(mapped),
        'of_the_node_mb': size_mb,
        'left': len(remaining),
        'left_mb': megabytes(remaining),
    }
    return row, remaining


def segments() -> set[Path]:
    """All segments of Fast DDS on this machine."""
    names = [f'{kind}{prefix}*' for kind in ('', 'sem.') for prefix in PREFIXES]
    return {path for name in names for path in SHARED.glob(name)}


def mapped_segments(pid: int) -> set[Path]:
    """Segments a process has mapped, with the small files that belong to them."""
    words = (line.split() for line in Path(f'/proc/{pid}/maps').read_text().splitlines())
    paths = {Path(w[5]) for w in words if len(w) > 5}
    names = {p for p in paths if p.parent == SHARED and p.name.startswith(PREFIXES)}
    companions = {Path(f'{path}_{end}') for path in names for end in ('el', 'sl')}
    companions |= {SHARED / f'sem.{path.name}_mutex' for path in names}
    return names | existing(companions)


def megabytes(paths: set[Path]) -> float:
    """Total size of existing files [MB]."""
    return round(sum(path.stat().st_size for path in paths) / 2**20, 1)


def existing(paths: set[Path]) -> set[Path]:
    """Paths that exist."""
    return {path for path in paths if path.exists()}
