# SPDX-License-Identifier: Apache-2.0
"""A camera, a node and a recorder of what it publishes: processes over DDS, timed from outside."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.demo.processes import Child

TICKS = os.sysconf('SC_CLK_TCK')
FULL_CLOUD = ('points.stride:=1', 'points.organized:=true')  # as the plain node's
PATIENCE_S = 30.0


class Graph:
    """One camera's graph.

    Args:
        folder: of logs and numbers, its own.
        env: as `demo.processes.environment` makes it.
        width: of the image [px].
        height: of it [px].
        rate: of the camera [Hz]; beyond what a node can do it is flat out.
        seconds: measured.
        patience_s: until the first depth image.
        namespace: of all its topics; '' for none.
    """

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        width: int,
        height: int,
        rate: float,
        seconds: float,
        patience_s: float = PATIENCE_S,
        namespace: str = '',
    ) -> None:
        self.folder, self.env, self.seconds, self.patience_s = folder, env, seconds, patience_s
        self.namespace = namespace
        folder.mkdir(parents=True, exist_ok=True)
        camera = {'width': width, 'height': height, 'rate': rate}
        self.camera = self._child('camera', 'tools.bench.source', camera)
        self.node: Child | None = None
        self.recorder: Child | None = None
        self.memory: dict[str, float] = {}
        self._words = ''
        self._busy: list[float] = []

    def serve(self, rules: Sequence[str], module: str = 'depth_ros.ros') -> Child:
        """Start a node with these parameters."""
        self.node = self._child('node', module, rules)
        return self.node

    def _child(
        self, name: str, module: str, rules: Sequence[str] | Mapping[str, object], **how: Any
    ) -> Child:
        return Child(name, module, rules, self.folder, self.env, namespace=self.namespace, **how)

    def record(self) -> None:
        """Start the recorder."""
        wanted = {'seconds': self.seconds, 'output': self.folder, 'compare': 0}
        wanted['patience'] = self.patience_s
        self.recorder = self._child('recorder', 'tools.demo.recorder', wanted, pipe_stdout=True)

    @property
    def children(self) -> list[Child]:
        """In the order they should end."""
        return [child for child in (self.recorder, self.node, self.camera) if child]

    def look(self) -> bool:
        """Take note of what the recorder says; False when it has ended."""
        assert self.recorder and self.node
        running = self.recorder.running
        for line in self.recorder.lines():
            self._words = line
            stage = json.loads(line).get('stage') if line.startswith('{') else ''
            if stage == 'measuring' and self.node.running:
                self._busy.append(cpu_s(self.node.process.pid))
                self.memory = memory_mb(self.node.process.pid)
        return running

    def numbers(self) -> dict[str, Any]:
        """What was found, or what went wrong under 'failed'."""
        assert self.recorder
        path = self.folder / 'summary.json'
        if not path.is_file():
            node = self.node.tail(2) if self.node else ''
            return {'failed': f'{self._words or self.recorder.tail(3)}; node: {node}'}
        summary = json.loads(path.read_text())
        points = summary['outputs']['points']
        frames, sent = points['received'], max(1, summary['camera']['frames'])
        busy = self._busy[-1] - self._busy[0] if self._busy else 0.0
        return {
            'camera_hz': summary['camera']['rate_hz'],
            'clouds_hz': round(frames / self.seconds, 1),
            'lost_percent': round(100 * points['lost'] / sent, 1),
            **{k: points[f'latency_{k}_ms'] for k in ('p50', 'p95', 'p99')},
            'cpu_ms_per_frame': round(1e3 * busy / frames, 2) if frames else None,
            'memory_mb': self.memory.get('pss'),
        }


def follow(graphs: Sequence[Graph]) -> None:
    """Until every recorder has ended."""
    while any([graph.look() for graph in graphs]):
        time.sleep(0.02)


def wait_for(child: Child, words: str, patience_s: float) -> bool:
    """Whether the child says `words` in its log within `patience_s`."""
    end = time.monotonic() + patience_s
    while child.running and time.monotonic() < end:
        if words in child.log.read_text(errors='replace'):
            return True
        time.sleep(0.05)
    return False


def cpu_s(pid: int) -> float:
    """What a process has computed so far [s]."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> dict[str, float]:
    """Resident memory of a process: all of it, and its share of what several use (`pss`)."""
    found = {}
    for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
        name, _, rest = line.partition(':')
        if name in ('Rss', 'Pss'):
            found[name.lower()] = round(int(rest.split()[0]) / 1024, 2)
    return found
