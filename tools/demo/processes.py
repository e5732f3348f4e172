# SPDX-License-Identifier: Apache-2.0
"""Child processes with a log each, that end when asked, and when their parent is gone."""

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
    """A DDS domain of 1..100 that no other process which asks here has, until this one ends.

    Higher domains reach into the ports that Linux hands out to others.

    Args:
        k: number of the domain, for a process that needs several.

    Raises:
        RuntimeError: all are in use.
    """
    first = os.getpid() + 8 * k
    for domain in (1 + (first + n) % 100 for n in range(100)):
        path = Path(tempfile.gettempdir(), f'depth_ros-domain-{domain}')
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT)
        except OSError:  # another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        return domain  # the lock stays open
    raise RuntimeError('DDS domains 1 to 100 are all in use; set ROS_DOMAIN_ID, or end some')


def environment(folder: Path) -> dict[str, str]:
    """Variables for nodes that talk to each other and to nobody else; they log to `folder`."""
    own = dict(os.environ, ROS_LOG_DIR=str(folder / 'ros'), PYTHONUNBUFFERED='1')
    own['ROS_DOMAIN_ID'] = own.get('ROS_DOMAIN_ID') or str(own_domain())
    # on this machine only; each process then gives Fast DDS room with `fastdds.prepare`
    return own | {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}


class Child:
    """One `python -m module --ros-args -p ...`, its output in `folder`/`name`.log."""

    def __init__(
        self,
        name: str,
        module: str,
        parameters: Mapping[str, object] | Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        *,
        speaks: bool = False,
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
                stdout=subprocess.PIPE if speaks else log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only the parent, which ends all in order
                preexec_fn=end_with_parent,
            )
        self._rest = b''
        if self.process.stdout:
            os.set_blocking(self.process.stdout.fileno(), False)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def lines(self) -> list[str]:
        """Whole lines it said since the last call; never waits."""
        assert self.process.stdout
        while chunk := self.process.stdout.read(65536):
            self._rest += chunk
        *whole, self._rest = self._rest.split(b'\n')
        return [line.decode(errors='replace') for line in whole]

    def tail(self, count: int = 15) -> str:
        """The last lines of its log."""
        return '\n'.join(self.log.read_text(errors='replace').splitlines()[-count:])


def stop(children: Sequence[Child], patience_s: float = 10.0) -> list[str]:
    """End all by SIGINT, then SIGTERM; SIGKILL only for those that ignore both.

    A killed process leaves its shared memory in /dev/shm, so a kill is worth telling.

    Returns:
        names of the children that had to be killed.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        for child in children:
            if child.running:
                child.process.send_signal(number)
        limit = time.monotonic() + patience_s
        while any(child.running for child in children) and time.monotonic() < limit:
            time.sleep(0.02)
    killed = [child for child in children if child.running]
    for child in killed:
        child.process.kill()
        child.process.wait()
    return [child.name for child in killed]


def end_with_parent() -> None:
    """Die with the parent, however it ends; and hear SIGINT even if a shell started us with &."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
