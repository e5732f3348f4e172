# SPDX-License-Identifier: Apache-2.0
"""A task on its way through the workers of a fleet, which can die."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from depth_ros.offline.inputs import Input
from depth_ros.offline.manifest import Record, State
from depth_ros.offline.run import Summary
from depth_ros.offline.work import Outcome, Task


@dataclass(slots=True)
class Ticket:
    """A task, and how often it was begun."""

    task: Task
    attempts: int = 0

    def __str__(self) -> str:
        """The inputs."""
        first, *others = self.task.unit.inputs
        return f'{first.path} and {len(others)} more' if others else str(first.path)

    def given_up(self, reason: str) -> Outcome:
        """What is recorded of a unit that no worker could do."""
        unit = self.task.unit
        text = f'{self}: given up after {self.attempts} attempts: {reason}'
        failed = unit.count // len(unit.inputs)
        records = [
            replace(self._known(one), failed=failed, attempts=self.attempts, error=text)
            for one in unit.inputs
        ]
        summary = Summary(failed=unit.count, reasons={text})
        return Outcome(unit, records, summary, [(True, text)])

    def _known(self, one: Input) -> Record:
        """Outputs may be there of the content that was known before."""
        if one.name in self.task.known:
            return self.task.known[one.name]
        try:
            state = State.of(Path(one.path))
        except OSError:
            state = State(0, 0)
        return Record(one.name, os.path.abspath(one.path), state.size, state.mtime_ns)
