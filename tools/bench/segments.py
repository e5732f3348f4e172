# SPDX-License-Identifier: Apache-2.0
"""What Fast DDS leaves in /dev/shm when a node ends: by itself, by Ctrl-C, and killed.

Only segments that the node had mapped are counted, so that other graphs of the machine do not
matter. What a killed node leaves, and the next one does not clear away, is removed at the end.
"""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from depth_ros.ros.process.shared_memory import PREFIXES, SHARED
from tools.bench.graph import wait_for
from tools.demo.processes import Child, environment, own_domain, stop

ENDS = {'SIGTERM': signal.SIGTERM, 'Ctrl-C': signal.SIGINT, 'SIGKILL': signal.SIGKILL}


def run() -> list[dict[str, Any]]:
    """A row for each way to end, and one for the start after a kill."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        left: set[Path] = set()
        for name, number in ENDS.items():
            row, left = one(name, number, out)
            rows.append(row)
        row, _ = one('the next start, then SIGTERM', signal.SIGTERM, out)
        row['left_from_before'] = len(existing(left))
        row['left_from_before_mb'] = megabytes(existing(left))
        rows.append(row)
        for path in left:
            path.unlink(missing_ok=True)
    return rows


def one(name: str, number: int, folder: Path) -> tuple[dict[str, Any], set[Path]]:
    """Start a node alone, end it so, and count; also what it left."""
    before = segments()
    # in a domain of its own, or the ports of other processes are counted too
    env = {**environment(folder), 'ROS_DOMAIN_ID': str(own_domain(1))}
    node = Child('node', 'depth_ros.ros', ['model:=flat_wall'], folder, env)
    try:
        if not wait_for(node, 'listening to', 60.0):
            return {'end': name, 'failed': node.tail(3)}, set()
        own = mapped(node.process.pid)
        size_mb = megabytes(existing(own))
        started = time.monotonic()
        node.process.send_signal(number)
        code = node.process.wait(30)
        took = time.monotonic() - started
    finally:
        stop([node])
    # what was there before and is mapped again is a port that the domain's processes share
    left = existing(own - before)
    row = {
        'end': name,
        'exit_code': code,
        'seconds': round(took, 2),
        'before': len(before),
        'of_the_node': len(own),
        'of_the_node_mb': size_mb,
        'left': len(left),
        'left_mb': megabytes(left),
    }
    return row, left


def segments() -> set[Path]:
    """All of Fast DDS on this machine, whoever's."""
    names = [f'{kind}{prefix}*' for kind in ('', 'sem.') for prefix in PREFIXES]
    return {path for name in names for path in SHARED.glob(name)}


def mapped(pid: int) -> set[Path]:
    """Those a process has mapped, and the small files that belong to them."""
    words = (line.split() for line in Path(f'/proc/{pid}/maps').read_text().splitlines())
    paths = {Path(w[5]) for w in words if len(w) > 5}
    names = {p for p in paths if p.parent == SHARED and p.name.startswith(PREFIXES)}
    beside = {Path(f'{path}_{end}') for path in names for end in ('el', 'sl')}
    beside |= {SHARED / f'sem.{path.name}_mutex' for path in names}
    return names | existing(beside)


def megabytes(paths: set[Path]) -> float:
    """What files take that are there."""
    return round(sum(path.stat().st_size for path in paths) / 2**20, 1)


def existing(paths: set[Path]) -> set[Path]:
    """Those that are there."""
    return {path for path in paths if path.exists()}
