# SPDX-License-Identifier: Apache-2.0
"""A worker of a fleet: it loads the network once, and does units of a run."""

from __future__ import annotations

import io
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import depth_ros
from depth_ros.core.errors import ConfigError, DepthRosError
from depth_ros.offline.plan import Plan
from depth_ros.offline.progress import Progress
from depth_ros.offline.work import Outcome, Task, Work
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.build import Choices

#: lines, True for those of standard error
Text = list[tuple[bool, str]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker has loaded, and where.

    Args:
        choices: network, device and precision.
        settings: of the pipeline.
        version: of depth_ros.
        where: host and process.
        text: that was printed.
    """

    choices: Choices
    settings: Settings
    version: str
    where: str
    text: Text = field(default_factory=list)


class Worker:
    """Ray makes an actor of this class.

    Args:
        plan: of the run.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._progress = _Count()

    def load(self, probe: Path, one: Path) -> Loaded | DepthRosError:
        """Load the network.

        Args:
            probe: a file to write, which the driver looks for.
            one: an input.

        Returns:
            What was loaded; or why it cannot be, since Ray would raise another error.
        """
        try:
            _check_storage(probe, one)
            with _captured() as text:
                self._pipeline, choices = self._plan.load()
        except DepthRosError as error:
            return error
        settings = self._pipeline.snapshot.settings
        return Loaded(choices, settings, depth_ros.__version__, _where(), text)

    def work(self, task: Task, since_ns: int, attempts: int) -> Outcome:
        """Do a unit; what it prints is in the result."""
        self._progress.done = 0
        # what remembers images must not know those of an attempt before
        job = self._plan.job(self._pipeline, since_ns)
        with _captured() as text:
            outcome = Work(self._plan, job, attempts)(task, self._progress)
        outcome.text = text
        return outcome

    def done(self) -> int:
        """Images of the present unit up to now; asked for meanwhile."""
        return self._progress.done


class _Count(Progress):
    """Only counts."""

    def __init__(self) -> None:
        super().__init__(0)

    def at(self, done: int) -> None:
        self.done = done

    def clear(self) -> None:
        pass


@contextmanager
def _captured() -> Iterator[Text]:
    """What is printed and logged meanwhile, line by line."""
    out, err, text = io.StringIO(), io.StringIO(), Text()
    with redirect_stdout(out), redirect_stderr(err):
        logging.basicConfig(level=logging.INFO, format='%(message)s', stream=err, force=True)
        yield text
    text += [(False, line) for line in out.getvalue().splitlines()]
    text += [(True, line) for line in err.getvalue().splitlines()]


def _check_storage(probe: Path, one: Path) -> None:
    try:
        probe.write_bytes(b'')
    except OSError as error:
        raise ConfigError(
            f'--output {probe.parent} cannot be written on {socket.gethostname()} '
            f'({error.strerror}): it must be storage that all nodes share'
        ) from error
    if not one.exists():
        raise ConfigError(
            f'{one} is not there on {socket.gethostname()}: inputs must be on storage that all '
            'nodes share, under the same path'
        )


def _where() -> str:
    return f'{socket.gethostname()} {os.getpid()}'
