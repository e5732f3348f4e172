# SPDX-License-Identifier: Apache-2.0
"""Workers on a Ray cluster that do the units of a run."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import depth_ros
from depth_ros.core.errors import ConfigError, DepthRosError
from depth_ros.offline.cluster import Share, places, reason_of
from depth_ros.offline.fleet_worker import Loaded, Worker
from depth_ros.offline.folder import part_of
from depth_ros.offline.plan import Plan
from depth_ros.offline.progress import Progress
from depth_ros.offline.ticket import Ticket
from depth_ros.offline.work import Outcome, Task

ATTEMPTS = 3  #: at a unit whose workers die
STARTS = 3  #: of workers that fail one after another
POLL_S = 1.0
PROBE_S = 30.0  #: for a file of another node to be seen, as network file systems take
PATIENCE_S = 60.0  #: for room for a worker, before a line says what is waited for


@dataclass(slots=True)
class _Hand:
    """A worker as the driver sees it: it loads, does a ticket, or is free."""

    actor: Any
    ref: Any
    probe: Path | None = None
    ticket: Ticket | None = None

    @property
    def is_free(self) -> bool:
        return self.ref is None


class Fleet:
    """The workers of a run, each an actor of Ray.

    A worker has one unit at a time, so no queue of units waits in the cluster. If it dies, or
    fails with an error that is not ours, another takes its place, and its unit is begun again, up
    to `ATTEMPTS` times. Errors of ours (`DepthRosError`) would come again: they are not retried.

    Args:
        ray: the module, connected to a cluster.
        plan: of the run, with absolute paths.
        share: of a node, for each worker.
        workers: number of them; None for as many as there is room for.
        one: an input, which each worker must see.

    Attributes:
        workers: number of them, to be lowered where there is less to do.
        since_ns: older outputs do not count as there [ns].
        lost: number of workers that died; they can have left unfinished outputs.

    Raises:
        ConfigError: the cluster has no room for a worker.
    """

    def __init__(self, ray: Any, plan: Plan, share: Share, workers: int | None, one: Path) -> None:
        self.workers = workers or places(ray, share)
        self.since_ns = self.lost = 0
        self._ray, self._plan, self._one = ray, plan, one
        self._make = ray.remote(Worker).options(
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=2,  # `Worker.done` beside `Worker.work`
            scheduling_strategy='SPREAD',
        )
        self._hands: list[_Hand] = []
        self._failures = 0
        self._first: Loaded | None = None
        self._moved_s = time.monotonic()

    def start(self) -> Loaded:
        """Start the first worker, whose choices are those of all.

        Raises:
            DepthRosError: no worker can be started, and why.
        """
        while self._first is None:
            if not self._hands:
                self._begin_worker()
            self._wait(None)
        chosen = self._first.choices
        values = {**self._plan.values, 'model': chosen.model, **chosen.engine_values()}
        self._plan = replace(self._plan, values=values)
        return self._first

    def engine(self, tasks: Iterator[Task], progress: Progress) -> Iterator[Outcome]:
        """Do tasks, as `work.Engine`."""
        queue: deque[Ticket] = deque()
        done, exhausted = 0, False
        while True:
            free = [hand for hand in self._hands if hand.is_free]
            while len(queue) < max(1, len(free)) and not exhausted:
                task = next(tasks, None)
                exhausted = task is None
                if task is not None:
                    queue.append(Ticket(task))
            for hand in free[: len(queue)]:
                self._give(hand, queue.popleft())
            if not queue and exhausted and not any(hand.ticket for hand in self._hands):
                return
            while queue and len(self._hands) < self.workers and self._failures < STARTS:
                self._begin_worker()
            for result in self._wait(progress):
                if isinstance(result, Ticket):
                    queue.append(result)
                    continue
                done += result.summary.images
                progress.skip(result.summary.there)
                yield result
            progress.at(done + self._running())

    def close(self) -> None:
        """End the workers."""
        for hand in self._hands:
            self._ray.kill(hand.actor)
            _remove(hand.probe)
        self._hands.clear()

    def _begin_worker(self) -> None:
        actor = self._make.remote(self._plan)
        probe = part_of(self._plan.output / '.probe')
        self._hands.append(_Hand(actor, actor.load.remote(probe, self._one), probe))

    def _give(self, hand: _Hand, ticket: Ticket) -> None:
        ticket.attempts += 1
        hand.ticket = ticket
        hand.ref = hand.actor.work.remote(ticket.task, self.since_ns, ticket.attempts)

    def _wait(self, progress: Progress | None) -> list[Outcome | Ticket]:
        """What has ended: outcomes, and tickets that are to be begun again."""
        refs = {hand.ref: hand for hand in self._hands if not hand.is_free}
        ready, _ = self._ray.wait(list(refs), num_returns=1, timeout=POLL_S)
        results = [self._ended(refs[ref], progress) for ref in ready]
        now_s = time.monotonic()
        if ready or any(hand.ticket for hand in self._hands):
            self._moved_s = now_s
        elif now_s - self._moved_s > PATIENCE_S:
            self._moved_s = now_s + 1e9  # once
            _say('no node has room for a worker now; waiting for one', progress)
        return [result for result in results if result is not None]

    def _ended(self, hand: _Hand, progress: Progress | None) -> Outcome | Ticket | None:
        ref, hand.ref = hand.ref, None
        ticket, hand.ticket = hand.ticket, None
        try:
            result = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._drop(hand)
            reason = reason_of(error)
            if ticket is None:
                failure = ConfigError(
                    f'a worker cannot be started: {reason}; is depth_ros {depth_ros.__version__} '
                    'installed on every node, for the Python of Ray?'
                )
                self._failed(failure, progress, final=False)
                return None
            if ticket.attempts < ATTEMPTS:
                _say(f'{ticket}: {reason}; begun again', progress)
                return ticket
            return ticket.given_up(reason)
        if ticket is not None:
            assert isinstance(result, Outcome)
            return result
        try:
            self._accept(hand, result)
        except DepthRosError as error:
            self._drop(hand)
            self._failed(error, progress, final=self._first is None)
        return None

    def _accept(self, hand: _Hand, loaded: Loaded | DepthRosError) -> None:
        """Check that a new worker would make the same files as the first one.

        Raises:
            DepthRosError: it would not, or could not be started.
        """
        if isinstance(loaded, DepthRosError):
            raise loaded
        assert hand.probe is not None
        end_s = time.monotonic() + PROBE_S
        while not hand.probe.exists():
            if time.monotonic() > end_s:
                raise ConfigError(
                    f'what {loaded.where} writes to --output {self._plan.output} is not there '
                    'on this machine: it must be storage that all nodes share, under one path'
                )
            time.sleep(0.1)
        _remove(hand.probe)
        first = self._first or loaded
        for what, its, other in (
            ('depth_ros', loaded.version, depth_ros.__version__),
            ('network', loaded.choices.model, first.choices.model),
            ('scaling', loaded.choices.scaling, first.choices.scaling),
            (
                'precision',
                *(c.precision.partition(' ')[0] for c in (loaded.choices, first.choices)),
            ),
            ('device', *(c.device.partition(':')[0] for c in (loaded.choices, first.choices))),
        ):
            if its != other:
                raise ConfigError(
                    f'{loaded.where} has {what} {its}, but others {other}: results would differ'
                )
        self._first = first
        self._failures = 0

    def _failed(self, error: DepthRosError, progress: Progress | None, *, final: bool) -> None:
        """A worker could not be started.

        Raises:
            DepthRosError: it is final, or there is no other worker.
        """
        self._failures += 1
        loaded = [hand for hand in self._hands if hand.is_free or hand.ticket]
        if final or (self._failures >= STARTS and not loaded):
            raise error
        _say(f'a worker less: {error}', progress)

    def _drop(self, hand: _Hand) -> None:
        """It may still live, where only the connection is lost."""
        self.lost += 1
        self._hands.remove(hand)
        self._ray.kill(hand.actor)
        _remove(hand.probe)

    def _running(self) -> int:
        """Images of the units that are being processed."""
        refs = [hand.actor.done.remote() for hand in self._hands if hand.ticket]
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=POLL_S) if refs else ([], 0)
        count = 0
        for ref in ready:
            try:
                count += self._ray.get(ref)
            except self._ray.exceptions.RayError:  # seen by `_ended`, too
                continue
        return count


def _say(text: str, progress: Progress | None) -> None:
    if progress is not None:
        progress.clear()
    print(text, file=sys.stderr)


def _remove(probe: Path | None) -> None:
    if probe is not None:
        probe.unlink(missing_ok=True)
