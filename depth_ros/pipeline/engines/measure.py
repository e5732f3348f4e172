# SPDX-License-Identifier: Apache-2.0
"""Have engines measured by another process, which may fail or take too long."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import IO, Any

from depth_ros.core import errors
from depth_ros.pipeline.engines import Target
from depth_ros.pipeline.engines.trial import Request, order_of

log = logging.getLogger(__name__)
LIMIT_S = 300.0  #: for all targets, with the export


@dataclass(slots=True)
class Measured:
    """What is known of a target.

    Args:
        target: that was measured.
        ms: median time for an image [ms]; 0 if it failed or was not reached.
        difference: median relative difference of the depth from torch in fp32.
        failed: why it cannot be used; '' if it can.
    """

    target: Target
    ms: float = 0.0
    difference: float = 0.0
    failed: str = 'not reached in time'

    def __str__(self) -> str:
        """In words."""
        if self.failed:
            return f'{self.target}: {self.failed}'
        return f'{self.target}: {self.ms:.4g} ms, {100 * self.difference:.2g} % from torch in fp32'


@dataclass(slots=True)
class Outcome:
    """What is known of all targets.

    Args:
        all: of them, in the order of the request.
        best: index of the fastest; -1 if none can be used.
    """

    all: list[Measured] = field(default_factory=list)
    best: int = -1

    @classmethod
    def of(cls, request: Request) -> Outcome:
        """Before anything is measured."""
        return cls([Measured(target) for target in request.targets])


def measure(request: Request, limit_s: float) -> Outcome:
    """Have all targets of a request measured.

    A process that an engine ends is started again for the targets that are left.

    Args:
        request: see there.
        limit_s: after which the process is killed; what it has measured until then counts.

    Raises:
        ConfigError, WeightsError: the network cannot be loaded.
    """
    outcome = Outcome.of(request)
    left = list(range(len(request.targets)))
    end_s = time.monotonic() + limit_s
    while left and time.monotonic() < end_s:
        # with the fastest until now, as all are compared with it
        order = ([outcome.best] if outcome.best >= 0 else []) + left
        now = replace(request, targets=[request.targets[k] for k in order])
        answers: list[dict[str, Any]] = []
        reason = _ask(now, end_s - time.monotonic(), partial(_take, outcome, order, answers))
        done = {order[answer['target']] for answer in answers}
        left = [k for k in left if k not in done]
        if reason:
            k = next((order[n] for n in order_of(now.targets) if order[n] not in done), -1)
            if k == outcome.best:
                outcome.best = -1
            if k >= 0:
                outcome.all[k].failed = reason
                log.warning('%s', outcome.all[k])
                left = [other for other in left if other != k]
    return outcome


def _take(
    outcome: Outcome, order: list[int], answers: list[dict[str, Any]], answer: dict[str, Any]
) -> None:
    """Note an answer of the process, and keep it if it is about a target.

    Args:
        outcome: completed.
        order: number of a target in the process -> in `outcome`.
        answers: about targets.
        answer: see `trial.answer`.
    """
    if 'refused' in answer:
        raise getattr(errors, answer['refused'])(answer['because'])
    if 'exported_s' in answer:
        log.info('network exported in %.1f s', answer['exported_s'])
        return
    answers.append(answer)
    one = outcome.all[order[answer['target']]]
    one.ms, one.difference = answer.get('ms', 0.0), answer.get('difference', 0.0)
    one.failed = answer.get('failed', '')
    if 'best' in answer:
        outcome.best = order[answer['best']]
    (log.warning if one.failed else log.info)('%s', one)


def _ask(request: Request, limit_s: float, take: Callable[[dict[str, Any]], None]) -> str:
    """Start the process and take its answers; returns why it ended early, '' if by the limit."""
    # the modules that this process has, wherever they are
    env = os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, '-m', 'depth_ros.pipeline.engines.trial']
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            env=env,
            start_new_session=True,  # also what it has started can be ended
        )
        assert process.stdin is not None and process.stdout is not None
        expired = threading.Event()

        def kill() -> None:
            expired.set()
            _kill(process)

        timer = threading.Timer(limit_s, kill)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                pickle.dump(request, process.stdin)
                process.stdin.flush()
            for line in process.stdout:
                answer = json.loads(line)
                if 'done' in answer:  # another process may still have the pipe
                    return ''
                take(answer)
            process.wait()
        finally:  # also if this process is to end
            timer.cancel()
            _kill(process)
            process.wait()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.stdout.close()
        if expired.is_set() or process.returncode == 0:
            return ''
        return f'the process that tried it ended with {process.returncode}: {_last_line(printed)}'


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors='replace').strip().splitlines()
    return lines[-1][:200] if lines else 'nothing was said'
