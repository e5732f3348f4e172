# SPDX-License-Identifier: Apache-2.0
"""Units become files and records: what a worker does, be it this process or another."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from depth_ros.core.errors import DepthRosError
from depth_ros.offline.inputs import Input
from depth_ros.offline.manifest import Record, State, files_of, sha256_of
from depth_ros.offline.plan import Plan
from depth_ros.offline.progress import Progress
from depth_ros.offline.run import Job, Summary
from depth_ros.offline.units import Unit, described

REASONS = 5  #: in a record, at most


@dataclass(frozen=True, slots=True)
class Task:
    """A unit with what is known of its inputs.

    Args:
        unit: what to do.
        known: name of an input -> what was made of it before.
        verify: compare the outputs that are there with their hashes.
    """

    unit: Unit
    known: Mapping[str, Record] = field(default_factory=dict)
    verify: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of a unit.

    Args:
        unit: what was to be done.
        records: one for each input.
        summary: of its images.
        text: lines to show, True for those of standard error; each only once in a run.
    """

    unit: Unit
    records: list[Record]
    summary: Summary
    text: list[tuple[bool, str]] = field(default_factory=list)


#: does tasks, in any order; it asks for the next one when it can begin it
Engine = Callable[[Iterator[Task], Progress], Iterator[Outcome]]


class Work:
    """Does units in this process.

    Args:
        plan: of the run.
        job: of the plan.
        attempts: at the unit, with this one.
    """

    def __init__(self, plan: Plan, job: Job, attempts: int = 1) -> None:
        self._plan, self._job, self._attempts = plan, job, attempts

    def engine(self, tasks: Iterator[Task], progress: Progress) -> Iterator[Outcome]:
        """Do one after another."""
        for task in tasks:
            yield self(task, progress)

    def __call__(self, task: Task, progress: Progress) -> Outcome:
        """Do a unit. An input that cannot be processed is reported on standard error."""
        outcome = Outcome(task.unit, [], Summary())
        groups: dict[bool, list[tuple[Input, State, str, float]]] = {False: [], True: []}
        for one in task.unit.inputs:
            start_s, known = time.monotonic(), task.known.get(one.name)
            try:
                state, sha256 = _state(one), sha256_of(Path(one.path))
                if known is not None and task.verify:
                    _remove_damaged(known, self._plan.output)
                changed = known is not None and self._is_new(known, state, sha256, task.unit)
                if changed:  # before anything fails: they would be taken for new ones
                    self._remove(one, task.unit)
            except (DepthRosError, OSError) as error:
                self._fail(one, State(0, 0), str(error), outcome, progress)
                continue
            took_s = time.monotonic() - start_s
            groups[self._job.overwrite or changed].append((one, state, sha256, took_s))
        for overwrite, group in groups.items():
            if group:
                self._group(group, task, overwrite, outcome, progress)
        return outcome

    def _group(
        self,
        group: list[tuple[Input, State, str, float]],
        task: Task,
        overwrite: bool,
        outcome: Outcome,
        progress: Progress,
    ) -> None:
        start_s = time.monotonic()
        job = replace(self._job, selection=task.unit.selection, overwrite=overwrite)
        try:
            summary = job([one for one, *_ in group], progress)
        except DepthRosError as error:  # of the only image
            self._fail(*group[0][:2], str(error), outcome, progress, group[0][2])
            return
        outcome.summary.include(summary)
        job_s = (time.monotonic() - start_s) / len(group)
        for one, state, sha256, took_s in group:
            start_s = time.monotonic()
            try:
                outputs = self._outputs(one, job, summary.names)
                if _state(one) != state:
                    raise DepthRosError('it was changed while it was read; run it again')
            except (DepthRosError, OSError) as error:
                self._fail(one, state, str(error), outcome, progress)
                continue
            alone = len(group) == 1
            failed = summary.failed if alone else int(one.name in summary.failures)
            kinds, known = set(self._plan.kinds), task.known.get(one.name)
            if known is not None and not overwrite:  # also of other kinds or images
                outputs = {**_present(known, self._plan.output), **outputs}
                if known.selection == described(task.unit.selection):
                    kinds |= set(known.kinds)
            record = self._record(one, state)
            reasons = summary.reasons if alone else {summary.failures.get(one.name, '')}
            outcome.records.append(
                replace(
                    record,
                    sha256=sha256,
                    kinds=sorted(kinds),
                    selection=described(task.unit.selection),
                    images=summary.images + summary.there if alone else 1 - failed,
                    failed=failed,
                    outputs=outputs,
                    seconds=round(took_s + job_s + time.monotonic() - start_s, 3),
                    error='; '.join(sorted(reasons)[:REASONS]),
                )
            )

    def _fail(
        self,
        one: Input,
        state: State,
        reason: str,
        outcome: Outcome,
        progress: Progress,
        sha256: str = '',
    ) -> None:
        text = outcome.summary.fail(one.name, one.path, reason, progress)
        record = replace(self._record(one, state), sha256=sha256, failed=1, error=text)
        outcome.records.append(record)

    def _record(self, one: Input, state: State) -> Record:
        return Record(
            one.name,
            os.path.abspath(one.path),
            state.size,
            state.mtime_ns,
            attempts=self._attempts,
            worker=f'{socket.gethostname()} {os.getpid()}',
        )

    def _is_new(self, known: Record, state: State, sha256: str, unit: Unit) -> bool:
        """Whether outputs that are there are of other content, or of other images."""
        changed = known.sha256 != sha256 if known.sha256 else known.state != state
        wholes = {'video', 'bag'} & set(self._plan.kinds)
        return changed or (bool(wholes) and known.selection != described(unit.selection))

    def _remove(self, one: Input, unit: Unit) -> None:
        """Remove the outputs of this unit alone: other pieces of a bag may be done already."""
        job = replace(self._job, selection=unit.selection)
        for path in job.outputs(one, one.names(unit.selection)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _outputs(self, one: Input, job: Job, written: list[str]) -> dict[str, list[object]]:
        """Files of an input that are there, with size and hash."""
        found = {}
        names = dict.fromkeys(one.names(job.selection))
        if one.is_sequence:  # a video can have more images than it states
            names |= dict.fromkeys(written)
        for path in job.outputs(one, names):
            for file in files_of(path):
                if file.is_file():
                    name = file.relative_to(self._plan.output).as_posix()
                    found[name] = [file.stat().st_size, sha256_of(file)]
        return found


def _state(one: Input) -> State:
    try:
        return State.of(Path(one.path))
    except OSError as error:
        raise DepthRosError(f'it cannot be read: {error.strerror}') from error


def _present(record: Record, folder: Path) -> dict[str, list[object]]:
    """Outputs of a record that are there."""
    return {
        name: [size, sha256]
        for name, (size, sha256) in record.outputs.items()
        if (folder / name).is_file() and (folder / name).stat().st_size == size
    }


def _remove_damaged(record: Record, folder: Path) -> None:
    """Remove outputs whose content is not that of their record, so that they are made again."""
    for name, (_, sha256) in record.outputs.items():
        path = folder / name
        if path.is_file() and sha256_of(path) == sha256:
            continue
        if (path.parent / 'metadata.yaml').exists():
            shutil.rmtree(path.parent)
        else:
            path.unlink(missing_ok=True)
