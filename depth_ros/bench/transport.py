# SPDX-License-Identifier: Apache-2.0
"""The way of an image through the node without a network: three processes over DDS.

Ours beside a plain node and beside a memcpy of the same bytes, at the camera's rate and flat out.
Each case is a fresh camera, node and recorder; latency runs from the camera's stamp to the
subscriber's callback. The two nodes take turns, so that a machine that slows down slows both.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from depth_ros.demo.processes import Child, environment, stop

CLOUD = ('points.stride:=1', 'points.organized:=true')  # as the plain node's
TICKS = os.sysconf('SC_CLK_TCK')


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


def cases(rounds: int) -> Iterator[Case]:
    """Every case, `rounds` times, the nodes taking turns."""
    for _ in range(rounds):
        for width, height in ((640, 480), (1280, 720)):
            for rate in (30.0, 200.0):
                for node in ('depth_ros', 'plain'):
                    yield Case(node, width, height, rate)


def measure(case: Case, seconds: float) -> dict[str, Any]:
    """Run one case; its numbers, or what went wrong under 'failed'."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        env = environment(out)
        if case.node == 'plain':
            env |= {'DEPTH_ROS_NO_TUNING': '1'}  # camera and recorder too: a stock machine
        camera = {'width': case.width, 'height': case.height, 'rate': case.rate, 'frames': 4}
        node, rules = 'depth_ros.ros.node', ['model:=flat_wall', *CLOUD]
        if case.node == 'plain':
            node, rules = 'depth_ros.bench.plain_node', []
        recorder = {'seconds': seconds, 'output': out, 'compare': 0, 'patience': 30.0}
        children = [
            Child('camera', 'depth_ros.demo.camera', camera, out, env),
            Child('node', node, rules, out, env),
            Child('recorder', 'depth_ros.demo.recorder', recorder, out, env, speaks=True),
        ]
        try:
            busy, done = _follow(children)
        finally:
            stop(children[::-1])
        path = out / 'summary.json'
        if not path.is_file():
            return {'failed': done or children[-1].tail(3)}
        return _numbers(json.loads(path.read_text()), busy, seconds)


def _follow(children: list[Child]) -> tuple[float, str]:
    """Wait for the recorder; CPU seconds of the node while it measured, and its last words."""
    _, node, recorder = children
    first = last = 0.0
    words = ''
    while recorder.running:
        for line in recorder.lines():
            words = line
            stage = json.loads(line).get('stage') if line.startswith('{') else ''
            if stage == 'measuring':
                last = _cpu_s(node.process.pid)
                first = first or last
        time.sleep(0.02)
    return last - first, words


def _cpu_s(pid: int) -> float:
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _numbers(summary: dict[str, Any], busy_s: float, seconds: float) -> dict[str, Any]:
    points = summary['outputs']['points']
    frames = points['received']
    return {
        'camera_hz': summary['camera']['rate_hz'],
        'clouds_hz': round(frames / seconds, 1),
        'lost_percent': round(100 * points['lost'] / max(1, summary['camera']['frames']), 1),
        **{k: points[f'latency_{k}_ms'] for k in ('p50', 'p95', 'p99')},
        'cpu_ms_per_frame': round(1e3 * busy_s / frames, 2) if frames else None,
    }


def memcpy_ms(width: int, height: int, repeats: int = 60) -> dict[str, float]:
    """Median time [ms] to copy an image, a depth image and a cloud; cache-cold, one core."""
    times = {}
    for name, size in (('image', 3), ('depth', 4), ('cloud', 16)):
        blocks = [np.ones(width * height * size, np.uint8) for _ in range(8)]
        took = []
        for k in range(repeats):
            started = time.perf_counter()
            np.copyto(blocks[k % 8], blocks[(k + 3) % 8])
            took.append(time.perf_counter() - started)
        times[name] = round(1e3 * float(np.median(took)), 3)
    return times
