# SPDX-License-Identifier: Apache-2.0
"""Latency and rate of the node without a network, as three processes over DDS.

Our node is compared with a plain node and a memcpy of the same bytes, at the rate of a camera and
at the maximum. Each case has a new camera, node and recorder; latency is from the camera stamp to
the callback of the subscriber. The nodes are measured in turn, as the machine may slow down.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tools.bench.graph import FULL_CLOUD, Graph, wait_for_recorders
from tools.bench.options import SIZES, Options
from tools.bench.timing import Copier, time_interleaved
from tools.demo.processes import environment, stop

#: rate [Hz] and lens: a usual camera, one that is faster than any node, and two with raw images
CAMERAS = ((30.0, ''), (300.0, ''), (30.0, 'plumb_bob'), (30.0, 'equidistant'))
COLUMNS = ('clouds_hz', 'lost_percent', 'p50', 'p95', 'p99', 'cpu_ms_per_frame')


@dataclass(frozen=True, slots=True)
class Case:
    """A case to measure.

    Args:
        node: 'depth_ros' or 'plain'.
        width: of the image [px].
        height: of the image [px].
        rate: of the camera [Hz]; above the maximum of a node, that is measured.
        lens: of the camera, a key of `LENSES`; '' for rectified images.
    """

    node: str
    width: int
    height: int
    rate: float
    lens: str = ''


def run(options: Options) -> dict[str, Any]:
    """Measure all cases, and the memcpy."""
    results: dict[Case, list[dict[str, Any]]] = defaultdict(list)
    for case in cases(options.rounds, options.sizes):
        numbers = measure(case, options.seconds, options.torch_device)
        results[case].append(numbers)
        print(f'{case.node:>9} {named(case)}: {numbers}', flush=True)
    return {
        'method': f'{options.rounds} rounds of {options.seconds:g} s, nodes in turn; medians',
        'rows': [summary(case, runs) for case, runs in results.items()],
        'memcpy_ms': {f'{w}x{h}': memcpy_ms(w, h) for w, h in options.sizes},
    }


def cases(rounds: int, sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[Case]:
    """Every case `rounds` times, with the nodes in turn."""
    for _ in range(rounds):
        for width, height in sizes:
            for rate, lens in CAMERAS:
                for node in ('depth_ros', 'plain'):
                    yield Case(node, width, height, rate, lens)


def named(case: Case) -> str:
    """The camera of a case."""
    return f'{case.width}x{case.height} {case.rate:g} Hz {case.lens}'.rstrip()


def measure(
    case: Case,
    seconds: float,
    device: torch.device = torch.device('cpu'),  # noqa: B008
    rules: Sequence[str] = ('model:=flat_wall', *FULL_CLOUD),
) -> dict[str, Any]:
    """Measure one case; returns `Graph.results`.

    Args:
        case: to measure.
        seconds: duration.
        device: of our node.
        rules: other parameters of our node.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        env = environment(out)
        if case.node == 'plain':
            env |= {'DEPTH_ROS_NO_TUNING': '1'}  # also for camera and recorder: default settings
        graph = Graph(out, env, case.width, case.height, case.rate, seconds, lens=case.lens)
        try:
            if case.node == 'plain':
                graph.start_node([], 'tools.bench.plain_node')
            else:
                graph.start_node([*rules, f'device:={device}'])
            graph.start_recorder()
            wait_for_recorders([graph])
        finally:
            stop(graph.children)
        return graph.results()


def summary(case: Case, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Row of a case: medians of its runs."""
    return {
        'node': case.node,
        'size': f'{case.width}x{case.height}',
        'rate': case.rate,
        'lens': case.lens,
        **medians(runs, COLUMNS),
    }


def medians(runs: list[dict[str, Any]], columns: Sequence[str]) -> dict[str, Any]:
    """Medians of columns over runs; with the number of failed runs and the last reason."""
    reasons = [str(run['failed']) for run in runs if 'failed' in run]
    row: dict[str, Any] = {'failed': len(reasons), **({'why': reasons[-1]} if reasons else {})}
    for name in columns:
        values = [run[name] for run in runs if run.get(name) is not None]
        row[name] = round(statistics.median(values), 2) if values else None
    return row


def memcpy_ms(width: int, height: int, repeats: int = 60) -> dict[str, float]:
    """Median time to copy an image, a depth image and a cloud, with cold caches [ms]."""
    pixels = width * height
    calls = {n: Copier(pixels * size) for n, size in (('image', 3), ('depth', 4), ('cloud', 16))}
    times = time_interleaved(calls, budget_s=2.0, min_rounds=min(5, repeats), max_rounds=repeats)
    return {name: round(found['median_ms'], 3) for name, found in times.items()}
