# SPDX-License-Identifier: Apache-2.0
"""The way of an image through the node without a network: three processes over DDS.

Ours beside a plain node and beside a memcpy of the same bytes, at the camera's rate and flat out.
Each case is a fresh camera, node and recorder; latency runs from the camera's stamp to the
subscriber's callback. The two nodes take turns, so that a machine that slows down slows both.
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

from tools.bench.graph import FULL_CLOUD, Graph, follow
from tools.bench.options import SIZES, Options
from tools.bench.timing import Copier, take_turns
from tools.demo.processes import environment, stop

COLUMNS = ('clouds_hz', 'lost_percent', 'p50', 'p95', 'p99', 'cpu_ms_per_frame')


@dataclass(frozen=True, slots=True)
class Case:
    """What is run.

    Args:
        node: 'depth_ros' or 'plain'.
        width: of the image [px].
        height: of it [px].
        rate: of the camera [Hz]; beyond what a node can do it is flat out.
    """

    node: str
    width: int
    height: int
    rate: float


def run(options: Options) -> dict[str, Any]:
    """All cases, and the memcpy."""
    found: dict[Case, list[dict[str, Any]]] = defaultdict(list)
    for case in cases(options.rounds, options.sizes):
        numbers = measure(case, options.seconds, options.torch_device)
        found[case].append(numbers)
        print(f'{case.node:>9} {case.width}x{case.height} {case.rate:g} Hz: {numbers}', flush=True)
    return {
        'method': f'{options.rounds} rounds of {options.seconds:g} s, nodes in turn; medians',
        'rows': [summary(case, runs) for case, runs in found.items()],
        'memcpy_ms': {f'{w}x{h}': memcpy_ms(w, h) for w, h in options.sizes},
    }


def cases(rounds: int, sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[Case]:
    """Every case, `rounds` times, the nodes taking turns."""
    for _ in range(rounds):
        for width, height in sizes:
            for rate in (30.0, 200.0):
                for node in ('depth_ros', 'plain'):
                    yield Case(node, width, height, rate)


def measure(
    case: Case,
    seconds: float,
    device: torch.device = torch.device('cpu'),  # noqa: B008
    rules: Sequence[str] = ('model:=flat_wall', *FULL_CLOUD),
) -> dict[str, Any]:
    """Run one case; its numbers, or what went wrong under 'failed'.

    Args:
        case: what is run.
        seconds: measured.
        device: ours is told to use.
        rules: parameters of ours.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        env = environment(out)
        if case.node == 'plain':
            env |= {'DEPTH_ROS_NO_TUNING': '1'}  # camera and recorder too: a stock machine
        graph = Graph(out, env, case.width, case.height, case.rate, seconds)
        try:
            if case.node == 'plain':
                graph.serve([], 'tools.bench.plain_node')
            else:
                graph.serve([*rules, f'device:={device}'])
            graph.record()
            follow([graph])
        finally:
            stop(graph.children)
        return graph.numbers()


def summary(case: Case, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of a case's runs."""
    return {
        'node': case.node,
        'size': f'{case.width}x{case.height}',
        'rate': case.rate,
        **medians(runs, COLUMNS),
    }


def medians(runs: list[dict[str, Any]], columns: Sequence[str]) -> dict[str, Any]:
    """Of the runs that have them; and how many have failed, the last one why."""
    reasons = [str(run['failed']) for run in runs if 'failed' in run]
    row: dict[str, Any] = {'failed': len(reasons), **({'why': reasons[-1]} if reasons else {})}
    for name in columns:
        values = [run[name] for run in runs if run.get(name) is not None]
        row[name] = round(statistics.median(values), 2) if values else None
    return row


def memcpy_ms(width: int, height: int, repeats: int = 60) -> dict[str, float]:
    """Median time [ms] to copy an image, a depth image and a cloud; cache-cold, one core."""
    pixels = width * height
    calls = {n: Copier(pixels * size) for n, size in (('image', 3), ('depth', 4), ('cloud', 16))}
    times = take_turns(calls, budget_s=2.0, least=min(5, repeats), most=repeats)
    return {name: round(found['median_ms'], 3) for name, found in times.items()}
