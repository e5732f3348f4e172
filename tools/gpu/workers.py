# SPDX-License-Identifier: Apache-2.0
"""Processes that run one step each; the next one imports torch while this one works."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.demo.processes import end_with_parent

ROOT = Path(__file__).resolve().parents[2]
END_S = 5.0  #: for a process to end after its last row
Row = dict[str, Any]


class Worker:
    """A process of `tools.gpu.worker`, which waits for its job.

    Args:
        log: file of what it writes, other than rows.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH', ''))))
        with log.open('wb') as stderr:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'tools.gpu.worker'],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=ROOT,
                env={**os.environ, 'PYTHONPATH': path},
                start_new_session=True,  # to kill its children with it
                preexec_fn=end_with_parent,
            )

    def run(self, job: Row, limit_s: float, on_row: Callable[[Row], None]) -> str:
        """Do the job.

        Args:
            job: see `worker`.
            limit_s: the process is killed after this time [s].
            on_row: called with each row as it comes.

        Returns:
            '' or why it ended early.
        """
        end = time.monotonic() + limit_s
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(job).encode() + b'\n')
            self.process.stdin.close()
        except BrokenPipeError:
            return self._why()
        output, rest = self.process.stdout.fileno(), b''
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while selector.select(max(0.0, end - time.monotonic())):
                chunk = os.read(output, 1 << 16)
                if not chunk:
                    return self._why()
                *lines, rest = (rest + chunk).split(b'\n')
                for row in map(json.loads, lines):
                    if 'ended' in row:
                        with contextlib.suppress(subprocess.TimeoutExpired):
                            self.process.wait(END_S)
                        return str(row['ended'])
                    on_row(row)
        return f'killed after {limit_s:.0f} s'

    def _why(self) -> str:
        """Why the process ended without saying so."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        code = self.process.returncode
        how = f'exit status {code}'
        if code is not None and code < 0:
            how = f'ended by {signal.Signals(-code).name}'
        lines = self.log.read_text(errors='replace').strip().splitlines()
        return f'{how}: {lines[-1]}' if lines else how

    def close(self) -> None:
        """End the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)  # a process that is stuck in the driver stays
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class Workers:
    """One process at work, and one that has imported everything and waits.

    Args:
        folder: of their logs.

    Attributes:
        log: what the last one wrote, other than rows.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self.log = ''
        self._open: list[Worker] = []
        self._next = self._start()

    def _start(self) -> Worker:
        worker = Worker(self._folder / f'worker-{self._count}.log')
        self._count += 1
        self._open.append(worker)
        return worker

    def run(self, job: Row, limit_s: float, on_row: Callable[[Row], None]) -> str:
        """Do a job in a new process; see `Worker.run`."""
        worker, self._next = self._next, self._start()
        try:
            return worker.run(job, limit_s, on_row)
        finally:
            worker.close()
            self._open.remove(worker)
            self.log = worker.log.read_text(errors='replace')

    def close(self) -> None:
        """End all processes and their children."""
        while self._open:
            self._open.pop().close()
