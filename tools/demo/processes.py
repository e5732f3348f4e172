# SPDX-License-Identifier: Apache-2.0
"""Child processes with log files, which end on request and with their parent."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@functools.cache
def own_domain(k: int = 0) -> int:
    """Reserve a DDS domain of 1..100 until this process ends.

    The ports of higher domains overlap with the ephemeral ports of Linux.

    Args:
        k: index of the domain, for a process that needs several.

    Returns:
        A domain that no other process has reserved by this function.

    Raises:
        RuntimeError: all domains are reserved.
    """
    first = os.getpid() + 8 * k
    for domain in (1 + (first + n) % 100 for n in range(100)):
        path = Path(tempfile.gettempdir(), f'depth_ros-domain-{domain}')
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT)
        except OSError:  # of another user
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        return domain  # the lock stays open
    raise RuntimeError('DDS domains 1 to 100 are all in use; set ROS_DOMAIN_ID, or end some')


def environment(folder: Path) -> dict[str, str]:
    """Environment of nodes that communicate only with each other and log to `folder`."""
    env = dict(os.environ, ROS_LOG_DIR=str(folder / 'ros'), PYTHONUNBUFFERED='1')
    env['ROS_DOMAIN_ID'] = env.get('ROS_DOMAIN_ID') or str(own_domain())
    env.setdefault('DEPTH_ROS_ENGINE', 'torch')  # the same everywhere, and nothing is measured
    # on this machine only; each process then configures Fast DDS with `fastdds.prepare`
    return env | {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}


class Child:
    """A process `python -m module --ros-args -p ...`.

    Args:
        name: for messages and the log file.
        module: to run.
        parameters: ROS parameters, as a mapping or as 'name:=value'.
        folder: of the log file `name`.log.
        env: environment.
        pipe_stdout: `lines` returns its standard output, which is not logged then.
        namespace: of the node; '' for none.
    """

    def __init__(
        self,
        name: str,
        module: str,
        parameters: Mapping[str, object] | Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        *,
        pipe_stdout: bool = False,
        namespace: str = '',
    ) -> None:
        self.name, self.log = name, folder / f'{name}.log'
        items = parameters.items() if isinstance(parameters, Mapping) else ()
        rules = [f'{k}:={v}' for k, v in items] or list(parameters)
        command = [sys.executable, '-m', module, '--ros-args']
        command += [word for rule in rules for word in ('-p', rule)]
        command += ['-r', f'__ns:=/{namespace}'] if namespace else []
        with self.log.open('wb') as log:
            self.process = subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe_stdout else log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only the parent, which ends all children
                preexec_fn=end_with_parent,
            )
        self._rest = b''
        if self.process.stdout:
            os.set_blocking(self.process.stdout.fileno(), False)

    @property
    def running(self) -> bool:
        """Whether the process is still running."""
        return self.process.poll() is None

    def lines(self) -> list[str]:
        """Complete lines of its output since the last call; does not block."""
        assert self.process.stdout
        while chunk := self.process.stdout.read(65536):
            self._rest += chunk
        *whole, self._rest = self._rest.split(b'\n')
        return [line.decode(errors='replace') for line in whole]

    def tail(self, count: int = 15) -> str:
        """Last lines of its log."""
        return '\n'.join(self.log.read_text(errors='replace').splitlines()[-count:])


def stop(children: Sequence[Child], patience_s: float = 10.0) -> list[str]:
    """End processes by SIGINT, then SIGTERM, then SIGKILL.

    Args:
        children: to end.
        patience_s: time to wait after each signal [s].

    Returns:
        Names of the children that had to be killed, which leave their shared memory in /dev/shm.
    """
    for signum in (signal.SIGINT, signal.SIGTERM):
        for child in children:
            if child.running:
                child.process.send_signal(signum)
        limit = time.monotonic() + patience_s
        while any(child.running for child in children) and time.monotonic() < limit:
            time.sleep(0.02)
    killed = [child for child in children if child.running]
    for child in killed:
        child.process.kill()
        child.process.wait()
    return [child.name for child in killed]


def end_with_parent() -> None:
    """End with the parent process, and accept SIGINT even if started in the background."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
