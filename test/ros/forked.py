# SPDX-License-Identifier: Apache-2.0
"""Processes forked from one that has imported torch and rclpy, which takes seconds each time."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from multiprocessing.reduction import DupFd
from pathlib import Path

from tools.demo.processes import end_with_parent

HERE = Path(__file__).parent
_server = multiprocessing.get_context('forkserver')
_server.set_forkserver_preload(
    ['node_with_fakes', 'depth_ros.ros.node', 'depth_ros.sim.camera_node']
)


def run(module: str, *arguments: str, timeout: float = 60) -> Forked:
    """Run to the end; see `returncode` and `log`."""
    process = Forked(module, *arguments)
    process.wait(timeout)
    return process


class Forked:
    """`python -m module arguments`, as `subprocess.Popen`; its output is in `log`."""

    def __init__(self, module: str, *arguments: str) -> None:
        output, end = os.pipe()
        self._process = _server.Process(
            target=_run, args=(module, arguments, dict(os.environ), DupFd(end)), daemon=True
        )
        self._process.start()
        os.close(end)
        self.pid = self._process.pid
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    def _read(self, output: int) -> None:
        with open(output) as file:
            self.lines.extend(iter(file.readline, ''))

    @property
    def log(self) -> str:
        """What it wrote; complete when it has ended."""
        if self.returncode is not None:
            self._reader.join(5)
        return ''.join(self.lines)

    @property
    def returncode(self) -> int | None:
        """Exit code, minus the number of a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(module: str, arguments: tuple[str, ...], environment: dict[str, str], end) -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end = end.detach()
    for stream in (1, 2):
        os.dup2(end, stream)
    os.close(end)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment.get('PYTHONPATH', '').split(os.pathsep)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name='__main__', alter_sys=True)
