# SPDX-License-Identifier: Apache-2.0
"""What leads a run: which units are left, and the record of each input in the manifest."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from depth_ros.offline.inputs import Input
from depth_ros.offline.manifest import Manifest, Record, State
from depth_ros.offline.plan import Plan
from depth_ros.offline.progress import Progress
from depth_ros.offline.run import Summary
from depth_ros.offline.units import Unit, described
from depth_ros.offline.work import Engine, Task

#: what `Record.error` is while an input is being processed
BEGUN = 'begun and not finished'


@dataclass(frozen=True, slots=True)
class Driver:
    """Leads a run; the images are processed by an engine.

    Args:
        plan: of the run.
        manifest: of the folder of outputs.
        since_ns: older outputs do not count as there [ns].
        verify: trust no input and no output by its size and time.
    """

    plan: Plan
    manifest: Manifest
    since_ns: int = 0
    verify: bool = False

    def __call__(self, units: Sequence[Unit], engine: Engine) -> Summary:
        """Have all units done, and record what became of each input."""
        progress, summary = Progress(sum(unit.count for unit in units)), Summary()
        before = {} if self.plan.overwrite else dict(self.manifest.records)
        pieces: dict[str, list[Record]] = {}
        shown: set[tuple[bool, str]] = set()
        for outcome in engine(self._tasks(units, before, summary, progress), progress):
            summary.include(outcome.summary)
            _show([t for t in outcome.text if t not in shown], progress)
            shown.update(outcome.text)
            for record in outcome.records:
                parts = pieces.setdefault(record.input, [])
                parts.append(record)
                if len(parts) == outcome.unit.pieces:
                    whole = _whole(pieces.pop(record.input))
                    self._remove_old(before.get(whole.input), whole)
                    self.manifest.add(whole)
        progress.clear()
        self.manifest.compact()
        return summary

    def _tasks(
        self,
        units: Sequence[Unit],
        before: Mapping[str, Record],
        summary: Summary,
        progress: Progress,
    ) -> Iterator[Task]:
        """What is not done yet; found only when a worker is free."""
        done: dict[str, bool] = {}
        for unit in units:
            left = []
            for one in unit.inputs:
                if one.name not in done:
                    done[one.name] = self._is_done(one, unit)
                    if not done[one.name]:
                        self._begin(one, before.get(one.name))
                    else:
                        there = self.manifest.records[one.name].images
                        summary.there += there
                        progress.skip(there)
                if not done[one.name]:
                    left.append(one)
            if left:
                known = {one.name: before[one.name] for one in left if one.name in before}
                yield Task(replace(unit, inputs=tuple(left)), known, self.verify)

    def _is_done(self, one: Input, unit: Unit) -> bool:
        wanted = described(unit.selection)
        return not (self.verify or self.plan.overwrite) and self.manifest.is_done(
            one.name, Path(one.path), self.plan.kinds, wanted, self.since_ns
        )

    def _begin(self, one: Input, known: Record | None) -> None:
        """Record that outputs may be there from now on, and of which content of the input."""
        if known is not None:
            if known.error != BEGUN:
                self.manifest.add(replace(known, error=BEGUN))
            return
        try:
            state = State.of(Path(one.path))
        except OSError:
            return  # the one who processes it finds it, too
        self.manifest.add(
            Record(one.name, os.path.abspath(one.path), state.size, state.mtime_ns, error=BEGUN)
        )

    def _remove_old(self, old: Record | None, new: Record) -> None:
        """Remove what was made of another content of the input, and not replaced."""
        if old is None or not new.sha256 or old.sha256 in ('', new.sha256):
            return
        for name in set(old.outputs) - set(new.outputs):
            (self.plan.output / name).unlink(missing_ok=True)


def _show(text: Sequence[tuple[bool, str]], progress: Progress) -> None:
    if text:
        progress.clear()
    for is_error, line in text:
        print(line, file=sys.stderr if is_error else sys.stdout)


def _whole(pieces: Sequence[Record]) -> Record:
    """The record of an input from those of its pieces."""
    first = pieces[0]
    if len({(p.sha256, p.state) for p in pieces}) > 1:
        reason = f'{first.path}: it was changed while it was read; run it again'
        return replace(first, sha256='', error=reason)
    return replace(
        first,
        images=sum(p.images for p in pieces),
        failed=sum(p.failed for p in pieces),
        outputs=dict(sorted(item for p in pieces for item in p.outputs.items())),
        seconds=round(sum(p.seconds for p in pieces), 3),
        attempts=max(p.attempts for p in pieces),
        worker=', '.join(sorted({p.worker for p in pieces})),
        error='; '.join(sorted({p.error for p in pieces if p.error})),
    )
