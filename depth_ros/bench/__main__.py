# SPDX-License-Identifier: Apache-2.0
"""`python -m depth_ros.bench`: run the cases, print the table, keep the numbers."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections import defaultdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from depth_ros.bench.transport import Case, cases, measure, memcpy_ms

COLUMNS = ('clouds_hz', 'lost_percent', 'p50', 'p95', 'p99', 'cpu_ms_per_frame')
PACKAGES = ('numpy', 'opencv-python-headless', 'rclpy', 'ros-fastdds', 'torch')


def main() -> int:
    """Run and write; returns the exit code."""
    parser = argparse.ArgumentParser(prog='python -m depth_ros.bench', description=__doc__)
    parser.add_argument('--seconds', type=float, default=8.0, help='of each case')
    parser.add_argument('--rounds', type=int, default=3, help='medians are taken over these')
    parser.add_argument('--output', type=Path, default=Path('benchmarks/results'))
    given = parser.parse_args()
    found: dict[Case, list[dict[str, Any]]] = defaultdict(list)
    for case in cases(given.rounds):
        numbers = measure(case, given.seconds)
        found[case].append(numbers)
        print(f'{case.node:>9} {case.width}x{case.height} {case.rate:g} Hz: {numbers}', flush=True)
    rows = [summary(case, runs) for case, runs in found.items()]
    result = {
        'date': date.today().isoformat(),
        'machine': machine(),
        'method': f'{given.rounds} rounds of {given.seconds:g} s, nodes in turn; medians',
        'transport': rows,
        'memcpy_ms': {f'{w}x{h}': memcpy_ms(w, h) for w, h in ((640, 480), (1280, 720))},
    }
    given.output.mkdir(parents=True, exist_ok=True)
    path = given.output / f'{result["date"]}-{result["machine"]["name"]}.json'
    path.write_text(json.dumps(result, indent=1) + '\n')
    print_table(rows, result['memcpy_ms'])
    print(f'\nwritten to {path}')
    return 0


def summary(case: Case, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of a case's runs."""
    row: dict[str, Any] = {
        'node': case.node,
        'size': f'{case.width}x{case.height}',
        'rate': case.rate,
        'failed': sum('failed' in run for run in runs),
    }
    for name in COLUMNS:
        values = [run[name] for run in runs if run.get(name) is not None]
        row[name] = round(statistics.median(values), 2) if values else None
    return row


def print_table(rows: list[dict[str, Any]], memcpy: dict[str, dict[str, float]]) -> None:
    """The rows under each other, and what a copy of the same bytes takes."""
    names = ('node', 'size', 'rate', 'failed', *COLUMNS)
    print('\n' + ''.join(f'{n:>17}' for n in names))
    for row in rows:
        print(''.join(f'{"-" if row[n] is None else row[n]:>17}' for n in names))
    for size, times in memcpy.items():
        print(f'memcpy {size}: ' + ', '.join(f'{n} {t} ms' for n, t in times.items()))


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = next(
        (
            line.partition(':')[2].strip()
            for line in Path('/proc/cpuinfo').read_text().splitlines()
            if line.startswith('model name')
        ),
        platform.processor(),
    )
    name = ''.join(c if c.isalnum() else '-' for c in model.lower())
    return {
        'name': f'{name}-{os.cpu_count()}',
        'cpu': model,
        'cores': os.cpu_count(),
        'gpu': torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        'load': os.getloadavg()[0],
        'python': platform.python_version(),
        'packages': {p: version(p) for p in PACKAGES},
    }


if __name__ == '__main__':
    sys.exit(main())
