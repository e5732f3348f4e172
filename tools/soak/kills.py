# SPDX-License-Identifier: Apache-2.0
"""Nodes that are killed at a random moment: how they end, and what they leave behind.

Each fourth is a real `python -m depth_ros.ros`, the others are forked from a process that has
imported everything, so that the moment is in configuring, activating or running.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from depth_ros.ros.process.shared_memory import YOUNG_S, remove_dead
from tools.demo.processes import Child, end_with_parent, environment, stop
from tools.soak import resources
from tools.soak.camera import Look
from tools.soak.witness import Witness

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
MOMENTS_S = (0.1, 6.0)
END_S = 15.0  #: patience with the end
GRAPH_S = 3.0  #: until others no longer see a node that ended by itself
PARAMETERS = ('-p', 'cameras:=[front]', '-p', 'device:=cpu')
MODELS = ('flat_wall', 'nano')


class Forked:
    """The node in a forked process; `words` are its command line."""

    def __init__(self, server: Any, words: list[str], log: Path) -> None:
        self.process = server.Process(target=_run, args=(words, str(log), dict(os.environ)))
        self.process.start()
        self.pid: int = self.process.pid

    def wait(self, seconds: float) -> int | None:
        """Exit code; None if it has not ended."""
        self.process.join(seconds)
        code: int | None = self.process.exitcode
        return code


class Command:
    """The node as a user starts it."""

    def __init__(self, words: list[str], log: Path) -> None:
        command = [sys.executable, '-m', 'depth_ros.ros', *words]
        with log.open('wb') as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=file, preexec_fn=end_with_parent
            )
        self.pid = self.process.pid

    def wait(self, seconds: float) -> int | None:
        """Exit code; None if it has not ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None


def run(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Start and kill `count` nodes; returns a row for each, and problems in words."""
    chance, rows = random.Random(seed), []
    os.environ.update(environment(folder))
    server = multiprocessing.get_context('forkserver')
    server.set_forkserver_preload(['depth_ros.ros.node'])
    Look(rate=20.0, width=640, height=480).write(folder / 'front.json')
    camera = Child(
        'camera', 'tools.soak.camera', {'folder': folder}, folder, os.environ, namespace='front'
    )
    witness = Witness(['front'])
    while not witness.lists('camera'):
        time.sleep(0.1)
    ever: set[Path] = set()
    try:
        for k in range(count):
            model, is_command, name = MODELS[k % 2], k % 4 == 3, f'node_{k}'
            words = ['--ros-args', '-r', f'__node:={name}', '-p', f'model:={model}', *PARAMETERS]
            log = folder / f'{name}.log'
            node = Command(words, log) if is_command else Forked(server, words, log)
            row = kill(node, chance.uniform(*MOMENTS_S), SIGNALS[k % 3])
            ever |= row.pop('segments')
            check(row, name, log, witness)
            row |= {'started_as': 'command' if is_command else 'forked', 'model': model}
            rows.append({'node': name, **row, 'frames': len(witness.seen)})
            witness.seen.clear()
            if row['problems']:
                print(rows[-1], flush=True)
    finally:
        stop([camera])
        witness.close()
    left = resources.leftovers(ever)
    time.sleep(YOUNG_S)
    remove_dead()
    cleaned = resources.leftovers(ever)
    problems = [f'{row["node"]}: {text}' for row in rows for text in row['problems']]
    if cleaned['files']:
        problems.append(f'{cleaned} of shared memory remain after a clean-up')
    codes = Counter(f'{row["signal"]}: {row["exit_code"]}' for row in rows)
    return {
        'problems': problems,
        'kills': count,
        'exit_codes': dict(sorted(codes.items())),
        'killed_while': dict(Counter(row['was'] for row in rows)),
        'slowest_end_s': max(row['end_s'] for row in rows),
        'slowest_to_leave_the_graph_s': max(row['listed_s'] for row in rows),
        'segments': {'ever': len(ever), 'left': left, 'cleaned': cleaned},
        'rows': rows,
    }


def kill(node: Forked | Command, moment_s: float, signum: int) -> dict[str, Any]:
    """Kill a node after `moment_s`; `segments` are its own."""
    problems = []
    code = node.wait(moment_s)
    own = resources.own_segments(node.pid)
    asked_s = time.monotonic()
    if code is not None:
        problems.append(f'ended with {code} unasked')
    else:
        os.kill(node.pid, signum)
        code = node.wait(END_S)
    if code is None:
        problems.append(f'did not end in {END_S:g} s')
        os.kill(node.pid, signal.SIGKILL)
        code = node.wait(END_S)
    return {
        'moment_s': round(moment_s, 2),
        'signal': signal.Signals(signum).name,
        'exit_code': code,
        'end_s': round(time.monotonic() - asked_s, 2),
        'segments': own,
        'left': resources.leftovers(own),
        'problems': problems,
    }


def check(row: dict[str, Any], name: str, log: Path, witness: Witness) -> None:
    """Add to the row how far the node had come, and what is wrong with its end."""
    text = log.read_text(errors='replace') if log.exists() else ''
    code, problems = row['exit_code'], row['problems']
    row['was'] = 'configuring' if f'[{name}]' in text else 'starting'
    if 'listening to' in text:
        row['was'] = 'active'
    # before it has handlers, a signal ends it at once
    signum = signal.Signals[row['signal']]
    by_signal = signum == signal.SIGKILL or row['was'] == 'starting'
    if code not in ({0, -signum} if by_signal else {0}):
        problems.append(f'ended with {code}')
    if 'Traceback' in text:
        problems.append('wrote a traceback')
    if code == 0 and row['left']['files']:
        problems.append(f'left {row["left"]} of shared memory')
    ended_s = time.monotonic()
    while code == 0 and witness.lists(name) and time.monotonic() - ended_s < GRAPH_S:
        time.sleep(0.02)
    row['listed_s'] = round(time.monotonic() - ended_s, 2)
    if code == 0 and witness.lists(name):
        problems.append(f'is in the graph {GRAPH_S:g} s after its end')


def _run(words: list[str], log: str, environ: dict[str, str]) -> None:
    """In the forked process."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv[1:] = words
    runpy.run_module('depth_ros.ros', run_name='__main__', alter_sys=True)
