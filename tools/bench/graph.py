# SPDX-License-Identifier: Apache-2.0
"""A camera, a node and a recorder of its outputs, as processes over DDS."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.demo.processes import Child

TICKS = os.sysconf('SC_CLK_TCK')
FULL_CLOUD = ('points.stride:=1', 'points.organized:=true')  # as `plain_node` publishes it
PATIENCE_S = 30.0


class Graph:
    """ROS graph of one camera.

    Args:
        folder: for logs and results of this graph only.
        env: result of `demo.processes.environment`.
        width: of the image [px].
        height: of the image [px].
        rate: of the camera [Hz].
        seconds: duration of the measurement.
        patience_s: maximum time until the first depth image.
        namespace: of all topics; '' for none.
        lens: of the camera, a key of `LENSES`; '' for rectified images.

    Attributes:
        memory: latest `memory_mb` of the node.
        measuring: the recorder is timing outputs.
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
        lens: str = '',
    ) -> None:
        self.folder, self.env, self.seconds, self.patience_s = folder, env, seconds, patience_s
        self.namespace = namespace
        folder.mkdir(parents=True, exist_ok=True)
        camera: dict[str, Any] = {'width': width, 'height': height, 'rate': rate}
        camera |= {'lens': lens} if lens else {}
        self.camera = self._child('camera', 'tools.bench.source', camera)
        self.node: Child | None = None
        self.recorder: Child | None = None
        self.memory: dict[str, float] = {}
        self.measuring = False
        self._last_line = ''
        self._cpu_s: list[float] = []

    def start_node(self, rules: Sequence[str], module: str = 'depth_ros.ros') -> Child:
        """Start a node with parameters 'name:=value'."""
        self.node = self._child('node', module, rules)
        return self.node

    def _child(
        self, name: str, module: str, rules: Sequence[str] | Mapping[str, object], **options: Any
    ) -> Child:
        return Child(
            name, module, rules, self.folder, self.env, namespace=self.namespace, **options
        )

    def start_recorder(self) -> None:
        """Start the recorder."""
        parameters = {'seconds': self.seconds, 'output': self.folder, 'compare': 0}
        parameters['patience'] = self.patience_s
        self.recorder = self._child(
            'recorder', 'tools.demo.recorder', parameters, pipe_stdout=True
        )

    @property
    def children(self) -> list[Child]:
        """All processes, in the order in which they should end."""
        return [child for child in (self.recorder, self.node, self.camera) if child]

    def poll(self) -> bool:
        """Read the output of the recorder and the load of the node; False if it has ended."""
        assert self.recorder and self.node
        running = self.recorder.running
        for line in self.recorder.lines():
            self._last_line = line
            stage = json.loads(line).get('stage') if line.startswith('{') else ''
            self.measuring = stage == 'measuring'
            if self.measuring and self.node.running:
                self._cpu_s.append(cpu_s(self.node.process.pid))
                self.memory = memory_mb(self.node.process.pid)
        return running

    def results(self) -> dict[str, Any]:
        """Rates, latencies, CPU time and memory; or the reason of a failure under 'failed'."""
        assert self.recorder
        path = self.folder / 'summary.json'
        if not path.is_file():
            node = self.node.tail(2) if self.node else ''
            return {'failed': f'{self._last_line or self.recorder.tail(3)}; node: {node}'}
        summary = json.loads(path.read_text())
        points = summary['outputs']['points']
        frames, sent = points['received'], max(1, summary['camera']['frames'])
        cpu_time = self._cpu_s[-1] - self._cpu_s[0] if self._cpu_s else 0.0
        return {
            'camera_hz': summary['camera']['rate_hz'],
            'clouds_hz': round(frames / self.seconds, 1),
            'lost_percent': round(100 * points['lost'] / sent, 1),
            **{k: points[f'latency_{k}_ms'] for k in ('p50', 'p95', 'p99')},
            'cpu_ms_per_frame': round(1e3 * cpu_time / frames, 2) if frames else None,
            'memory_mb': self.memory.get('pss'),
        }


def wait_for_recorders(graphs: Sequence[Graph]) -> None:
    """Wait until every recorder has ended."""
    while any([graph.poll() for graph in graphs]):
        time.sleep(0.02)


def wait_for_log(child: Child, text: str, patience_s: float) -> bool:
    """Whether `text` appears in the log of a process within `patience_s`."""
    end = time.monotonic() + patience_s
    while child.running and time.monotonic() < end:
        if text in child.log.read_text(errors='replace'):
            return True
        time.sleep(0.05)
    return False


def cpu_s(pid: int) -> float:
    """CPU time of a process [s]."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> dict[str, float]:
    """Memory of a process [MB]: resident (`rss`), and with shared memory divided (`pss`)."""
    memory = {}
    for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
        name, _, rest = line.partition(':')
        if name in ('Rss', 'Pss'):
            memory[name.lower()] = round(int(rest.split()[0]) / 1024, 2)
    return memory
