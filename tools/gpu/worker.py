# SPDX-License-Identifier: Apache-2.0
"""A process for one step: `python -m tools.gpu.worker` reads a job, and writes rows.

The job is a line of JSON: 'do' is a module of this package, whose `run` gets the whole job.
'until' is the end of its time by the monotonic clock, which all processes share. Each row is a
line of JSON on the standard output; everything else that is printed goes to the standard error.
The last row has the one key 'ended': '' or the reason.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

Row = dict[str, Any]


class Emit(Protocol):
    """Hands out a result at once, so that it is kept if the process is killed."""

    def __call__(self, part: str, row: Row) -> None:
        """A row of a part of the results; see `results.KEYS`."""
        ...


@dataclass(frozen=True, slots=True)
class Clock:
    """How much time a job has left."""

    end_s: float

    def left_s(self) -> float:
        """Time left [s]; negative if it is over."""
        return self.end_s - time.monotonic()


class NotHere(Exception):
    """What cannot be measured here, and why."""


def attempt(
    name: str, emit: Emit, clock: Clock, least_s: float, action: Callable[[], None]
) -> bool:
    """Do a part of a step; if time is out or it fails, say why in the results.

    Args:
        name: of the part, in the results.
        emit: takes the reason.
        clock: of the job.
        least_s: time that it needs [s].
        action: the part.

    Returns:
        Whether it was done.
    """
    if clock.left_s() < least_s:
        left_s = max(0.0, clock.left_s())
        emit('left_out', {'what': name, 'why': f'{left_s:.0f} s are left of the step'})
        return False
    try:
        action()
    except NotHere as error:
        emit('left_out', {'what': name, 'why': str(error)})
        return False
    except Exception as error:  # whatever it is: the next part may work
        traceback.print_exc()
        emit('left_out', {'what': name, 'why': in_a_line(error)})
        return False
    return True


def in_a_line(error: BaseException) -> str:
    """Type and first line of an error."""
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0][:300]}' if lines else type(error).__name__


def main() -> int:
    """Read a job, do it and end; returns the exit status."""
    rows = os.fdopen(os.dup(1), 'w')  # not inherited by children
    os.dup2(2, 1)

    def write(row: Row) -> None:
        rows.write(json.dumps(row) + '\n')
        rows.flush()

    logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stderr)
    import torch

    from tools.gpu import bare, network  # noqa: F401  (imported while the step before works)

    bare.accept_old_safetensors()

    line = sys.stdin.readline()
    if not line:
        return 0
    job = json.loads(line)
    clock = Clock(job['until'])
    reason = ''
    if job['device'] == 'cpu':  # threads that wait for each other on a busy machine are no proof
        torch.set_num_threads(1)
    try:
        module = import_module(f'tools.gpu.{job["do"]}')
        module.run(job, lambda part, row: write({'part': part, 'row': row}), clock)
    except Exception as error:
        traceback.print_exc()
        reason = in_a_line(error)
    write({'ended': reason})
    return 0


if __name__ == '__main__':
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a lost GPU can make the end of the interpreter wait for ever
