# SPDX-License-Identifier: Apache-2.0
"""Run the parts, keep the numbers, print the tables: measure -> dict -> JSON -> table.

A result file is of one machine and day; a part that is measured again replaces what it had, and
of the networks only those that were measured again.
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

#: parts that are nothing without ROS
NEED_ROS = ('transport', 'growth', 'memory')


def call(given: argparse.Namespace) -> None:
    """Measure and write.

    Raises:
        ConfigError: the arguments ask for something that is not there.
    """
    path, result = measured(options.parsed(given))
    print()
    for table in tables.tables(result):
        print(table.text())
    print(tables.conditions(result))
    print(f'written to {path}; `make docs` puts it into docs/measured.md')


def measured(wanted: Options) -> tuple[Path, dict[str, Any]]:
    """Run the parts one after the other; the file after the last, and what is in it."""
    about = machine.machine(wanted.torch_device)
    path = wanted.output / f'{date.today().isoformat()}-{about["name"]}.json'
    result = json.loads(path.read_text()) if path.is_file() else {}
    result |= {'date': date.today().isoformat(), 'machine': about}
    for name in wanted.parts:
        if name in NEED_ROS and not machine.has_ros():
            print(f'{name}: left out, rclpy is not installed', flush=True)
            continue
        print(f'{name} ...', flush=True)
        conditions = machine.moment()
        module = import_module(f'tools.bench.{name}')
        part = module.run(wanted)
        if name in result and hasattr(module, 'merged'):
            part = module.merged(result[name], part)
        result[name] = {**part, 'conditions': conditions}
        wanted.output.mkdir(parents=True, exist_ok=True)
        path.write_text(as_json(result))  # what is measured stays if a later part fails
    return path, result


def as_json(result: dict[str, Any]) -> str:
    """One line a row, and one a series: made to be compared with the next."""
    text = json.dumps(result, indent=1)
    numbers = r'\[\s+(-?[\d.e+-]+(?:,\s+-?[\d.e+-]+)*)\s+\]'
    return re.sub(numbers, lambda m: f'[{" ".join(m[1].split())}]', text) + '\n'
