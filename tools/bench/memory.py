# SPDX-License-Identifier: Apache-2.0
"""Memory of the node over time, and shared memory that remains after its end.

A camera at 30 Hz, the node with `nano`, and a subscriber to all outputs. Resident memory is read
every second; the slope is that of a linear fit after the warm-up, the first quarter. On a GPU the
used memory of the device is read too, including that of other processes.
"""

from __future__ import annotations

import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.bench import plot, segments
from tools.bench.graph import Graph, memory_mb
from tools.bench.options import Options
from tools.demo.processes import environment, stop
from tools.machine import machine

MODEL = 'nano'
WARM_UP = 0.25  #: fraction of the series
PERIOD_S = 1.0


def run(options: Options) -> dict[str, Any]:
    """Measure the series with its slope and plot, and the remains in /dev/shm."""
    device = options.torch_device
    result = series(options)
    if 'failed' not in result:
        name = f'{date.today().isoformat()}-{machine(device)["name"]}-memory.png'
        options.output.mkdir(parents=True, exist_ok=True)
        lines = {'resident': result['resident_mb']}
        if result['device_mb']:
            lines['device'] = result['device_mb']
        title = f'depth_node, {MODEL} at 30 Hz: MB over minutes'
        plot.write(options.output / name, title, lines, PERIOD_S)
        result['picture'] = name
        print({k: v for k, v in result.items() if not k.endswith('_mb')}, flush=True)
    result['ends'] = segments.run()
    for row in result['ends']:
        print(row, flush=True)
    return result


def series(options: Options, width: int = 640, height: int = 480) -> dict[str, Any]:
    """Measure memory every second for `options.minutes`, from the first output on."""
    device, seconds = options.torch_device, 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        graph = Graph(out, environment(out), width, height, 30.0, seconds)
        resident: list[float] = []
        on_device: list[float] = []
        try:
            node = graph.start_node([f'model:={MODEL}', f'device:={device}'])
            graph.start_recorder()
            due = time.monotonic()
            while graph.poll() and node.running:
                time.sleep(0.02)
                if graph.measuring and time.monotonic() >= due:
                    due = max(due, time.monotonic() - PERIOD_S) + PERIOD_S
                    resident.append(memory_mb(node.process.pid)['rss'])
                    if device.type == 'cuda':
                        free, total = torch.cuda.mem_get_info(device)
                        on_device.append(round((total - free) / 2**20, 1))
            node_running = node.running
        finally:
            stop(graph.children)
        numbers = graph.results()
    if 'failed' in numbers or not node_running:
        return {'failed': numbers.get('failed', 'the node ended')}
    slope, uncertainty = slope_mb_per_h(resident)
    return {
        'method': f'{options.minutes:g} minutes of {width}x{height} at 30 Hz, {MODEL} on {device}',
        'clouds_hz': numbers['clouds_hz'],
        'slope_mb_per_h': slope,
        'slope_uncertainty_mb_per_h': uncertainty,
        'warm_up_percent': round(100 * WARM_UP),
        'resident_mb': resident,
        'device_mb': on_device,
    }


def slope_mb_per_h(values: list[float], period_s: float = PERIOD_S) -> tuple[float, float]:
    """Slope after the warm-up and its standard error [MB/h]; zeros for fewer than 4 values."""
    late = np.array(values[int(len(values) * WARM_UP) :])
    if len(late) < 4:
        return 0.0, 0.0
    hours = np.arange(len(late)) * period_s / 3600
    (slope, start), residual = np.polyfit(hours, late, 1), 0.0
    residual = float(np.std(late - slope * hours - start, ddof=2))
    spread = float(np.sqrt(((hours - hours.mean()) ** 2).sum()))
    return round(float(slope), 2), round(residual / spread, 2)
