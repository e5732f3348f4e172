# SPDX-License-Identifier: Apache-2.0
"""Run the parts, store the results and print the tables: measure -> dict -> JSON -> table.

A result file is for one machine and day. A part that is measured again replaces its results; part
`networks` replaces only the networks that were measured again.
"""

from __future__ import annotations

import argparse
import json
import re
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

from tools import machine
from tools.bench import options, tables
from tools.bench.options import Options

#: parts that need ROS
NEED_ROS = ('transport', 'growth', 'memory')


def execute(args: argparse.Namespace) -> None:
    """Measure, write the results and print the tables.

    Raises:
        ConfigError: an argument is invalid.
    """
    path, result = measure(options.parse(args))
    print()
    for table in tables.tables(result):
        print(table.text())
    print(tables.conditions(result))
    print(f'written to {path}; `make docs` puts it into docs/measured.md')


def measure(settings: Options) -> tuple[Path, dict[str, Any]]:
    """Run the parts one after the other; returns the result file and its content."""
    about = machine.machine(settings.torch_device)
    path = settings.output / f'{date.today().isoformat()}-{about["name"]}.json'
    result = json.loads(path.read_text()) if path.is_file() else {}
    result |= {'date': date.today().isoformat(), 'machine': about}
    for name in settings.parts:
        if name in NEED_ROS and not machine.has_ros():
            print(f'{name}: skipped, rclpy is not installed', flush=True)
            continue
        print(f'{name} ...', flush=True)
        conditions = machine.moment()
        module = import_module(f'tools.bench.{name}')
        part = module.run(settings)
        if name in result and hasattr(module, 'merge'):
            part = module.merge(result[name], part)
        result[name] = {**part, 'conditions': conditions}
        settings.output.mkdir(parents=True, exist_ok=True)
        path.write_text(as_json(result))  # after each part, as a later one may fail
    return path, result


def as_json(result: dict[str, Any]) -> str:
    """Format as JSON with one line for each list of numbers, for readable diffs."""
    text = json.dumps(result, indent=1)
    numbers = r'\[\s+(-?[\d.e+-]+(?:,\s+-?[\d.e+-]+)*)\s+\]'
    return re.sub(numbers, lambda m: f'[{" ".join(m[1].split())}]', text) + '\n'
