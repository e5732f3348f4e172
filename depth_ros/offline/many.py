# SPDX-License-Identifier: Apache-2.0
"""A run over many inputs, in this process or on a Ray cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from depth_ros.core.errors import ConfigError
from depth_ros.offline.cluster import connected, share_of
from depth_ros.offline.driver import Driver
from depth_ros.offline.fleet import Fleet
from depth_ros.offline.folder import locked, remove_parts
from depth_ros.offline.inputs import Input, Piece
from depth_ros.offline.live import Live
from depth_ros.offline.manifest import Manifest
from depth_ros.offline.plan import Plan
from depth_ros.offline.run import Summary
from depth_ros.offline.units import chosen, cut
from depth_ros.offline.work import Work
from depth_ros.parameters import layers
from depth_ros.parameters.settings import Settings


@dataclass(frozen=True, slots=True)
class Wish:
    """What a user asks of a cluster.

    Args:
        address: '' for that of `RAY_ADDRESS`, else for a Ray of this machine alone.
        workers: number; None for as many as there is room for.
        cpus: of a worker; see `cluster.share_of`.
        gpus: of a worker.
    """

    address: str = ''
    workers: int | None = None
    cpus: float | None = None
    gpus: float | None = None


def here(plan: Plan, inputs: Sequence[Input], *, verify: bool = False) -> Summary:
    """Process inputs in this process.

    Args:
        plan: of the run.
        inputs: in order.
        verify: trust no input and no output by its size and time.

    Raises:
        DepthRosError: the run cannot begin; what fails later is in the summary.
    """
    plan = replace(plan, values=_with_weights(plan.values))
    pipeline, choices = plan.load()
    print(choices)
    with locked(plan.output):
        since_ns = plan.claim(choices)
        remove_parts(plan.output)
        driver = Driver(plan, Manifest(plan.output), since_ns, verify)
        units = list(chosen(inputs, plan.selection))
        work = Work(plan, plan.job(pipeline, since_ns))
        return driver(list(cut(units, plan, pipeline.snapshot.settings, 0)), work.engine)


def on_fleet(plan: Plan, inputs: Sequence[Input], wish: Wish, *, verify: bool = False) -> Summary:
    """Process inputs by workers of a Ray cluster; the files are those of `here`.

    Args:
        plan: of the run.
        inputs: in order, on storage that all nodes share.
        wish: what is asked of the cluster.
        verify: trust no input and no output by its size and time.

    Raises:
        DepthRosError: the run cannot begin; what fails later is in the summary.
    """
    if any(isinstance(one, Live) for one in inputs):
        raise ConfigError('a camera cannot be an input with --ray: its images are not stored')
    asked: Settings = layers.with_values(Settings(), plan.values)
    with locked(plan.output), connected(wish.address) as ray:
        share = share_of(ray, wish.cpus, wish.gpus, threads=asked.threads, device=asked.device)
        values = _with_weights(plan.values)
        if not share.gpus:
            values['device'] = 'cpu'
        inputs = [_absolute(one) for one in inputs]
        plan = replace(plan, values=values, output=plan.output.absolute())
        fleet = Fleet(ray, plan, share, wish.workers, Path(inputs[0].path))
        try:
            first = fleet.start()
            for is_error, line in first.text:
                print(line, file=sys.stderr if is_error else sys.stdout)
            print(first.choices)
            print(f'{fleet.workers} workers, each with {share}')
            since_ns = fleet.since_ns = plan.claim(first.choices)
            remove_parts(plan.output)
            driver = Driver(plan, Manifest(plan.output), since_ns, verify)
            units = list(chosen(inputs, plan.selection))
            units = list(cut(units, plan, first.settings, fleet.workers))
            fleet.workers = min(fleet.workers, max(1, len(units)))
            return driver(units, fleet.engine)
        finally:
            fleet.close()
            if fleet.lost:
                remove_parts(plan.output)


def _with_weights(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the absolute path of a file or folder of weights."""
    path = values.get('weights', '')
    return {**values, 'weights': os.path.abspath(path)} if os.path.exists(path) else dict(values)


def _absolute(one: Input) -> Input:
    """The same for processes with other working folders."""
    if isinstance(one, Live | Piece):
        return one
    return replace(one, path=one.path.absolute())
