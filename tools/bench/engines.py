# SPDX-License-Identifier: Apache-2.0
"""Every network in every engine and precision of this machine, beside torch in fp32.

The engines of a network run in turns in one process (`one_engine`), with the same random weights
and input; the largest networks, of which a machine cannot hold several, one after the other. The
memory of each is that of a process of its own, which opens files as a later start of the node
does. What `engine: auto` would take is the fastest whose difference from torch in fp32
is at most 2 %.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from typing import Any
from unittest import mock

from depth_ros.core.errors import ConfigError
from depth_ros.models import PRESETS
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.engines import TORCH, Target
from depth_ros.pipeline.engines.compare import TOLERANCE
from depth_ros.pipeline.engines.targets import VARIABLE, engine_named, targets
from tools.bench.networks import MAX_ON_CPU, run_child
from tools.bench.options import Options
from tools.bench.other_runtimes import is_supported
from tools.bench.random_weights import count_parameters, networks

BUDGET_S = 2.0  #: for the timing of each engine
TOGETHER = 500e6  #: parameters of a network above which its engines run one after the other
ONE = 'tools.bench.one_engine'


def run(options: Options) -> dict[str, Any]:
    """Measure rows for each network."""
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    for name, presets in networks(options.presets).items():
        if options.device == 'cpu' and not (options.all or options.presets):
            count = count_parameters(name)
            if count > MAX_ON_CPU:
                left_out.append(f'{name}: {count / 1e6:.0f} M parameters; use --all to include it')
                continue
        try:
            with mock.patch.dict(os.environ, {VARIABLE: 'auto'}):  # all that are installed
                wanted = targets_of(name, options)
        except ConfigError as error:
            left_out.append(f'{name}: {error}')
            continue
        found = measure(name, wanted, options)
        for row in found:
            row |= {'preset': name, 'same_as': presets[1:], 'threads': options.threads}
            print(row, flush=True)
        rows += found
    names = dict.fromkeys(row['engine'] for row in rows if 'engine' in row)
    versions = [f'{name} {engine_named(name).version()}' for name in names if name != TORCH]
    return {
        'method': 'in turns, medians; random weights',
        'versions': versions,
        'rows': rows,
        'left_out': left_out,
    }


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Combine new rows with those of earlier runs that were not measured again."""
    measured = {(row['preset'], row['threads']) for row in new['rows']}
    kept = [row for row in old['rows'] if (row['preset'], row['threads']) not in measured]
    rows = kept + new['rows']
    order = list(networks())
    rows.sort(key=lambda row: (order.index(row['preset']), row['threads']))
    known = {row['preset'] for row in rows}
    left_out = [why for why in new['left_out'] if why.partition(':')[0] not in known]
    return {**new, 'rows': rows, 'left_out': left_out}


def targets_of(name: str, options: Options) -> list[Target]:
    """Of a network; torch in fp32 first.

    Raises:
        ConfigError: an engine that was asked for cannot run it.
    """
    device = options.torch_device
    found = []
    for engine in options.engines or ('auto',):
        settings = Settings(
            model=name, device=options.device, engine=engine, threads=options.threads
        )
        found += targets(settings, PRESETS[name], device)
    reference = Target(TORCH, str(device), 'fp32', options.threads)
    return [reference, *(one for one in dict.fromkeys(found) if one != reference)]


def measure(name: str, wanted: list[Target], options: Options) -> list[dict[str, Any]]:
    """Rows of a network."""
    more = ['transformers'] if is_supported(name) and _has('transformers') else []
    more += ['openvino, its defaults'] if any(t.engine == 'openvino' for t in wanted) else []
    with tempfile.TemporaryDirectory() as folder:
        given = {
            'preset': name,
            'folder': folder,
            'targets': [[t.engine, t.device, t.precision, t.threads] for t in wanted],
            'others': more if options.device == 'cpu' else [],
            'device': str(options.torch_device),
            'threads': options.threads,
        }
        rows = _timed(given, together=count_parameters(name) <= TOGETHER)
        reference = rows[0]
        if 'failed' in reference:
            return [reference]
        for k, row in enumerate(rows):
            if 'failed' in row:
                continue
            if k < len(wanted):
                alone = given | {'targets': [given['targets'][k]], 'others': [], 'budget_s': 0.0}
                row |= run_child(ONE, alone)
            row['of_torch_fp32'] = round(row['median_ms'] / reference['median_ms'], 3)
    usable = [
        row
        for row in rows[: len(wanted)]
        if 'failed' not in row and row['difference_percent'] <= 100 * TOLERANCE
    ]
    min(usable, key=lambda row: float(row['median_ms']))['auto'] = True
    return rows


def _timed(given: dict[str, Any], *, together: bool) -> list[dict[str, Any]]:
    """Rows with times, or with reasons."""
    groups = [given]
    if not together:
        groups = [given | {'targets': [one], 'others': []} for one in given['targets']]
        groups += [given | {'targets': [], 'others': [one]} for one in given['others']]
    rows: list[dict[str, Any]] = []
    for group in groups:
        timed = run_child(ONE, group | {'budget_s': BUDGET_S * (len(group['targets']) + 1)})
        if 'failed' in timed:
            names = [f'{t[0]} {t[2]}' for t in group['targets']] + group['others']
            timed = {'rows': [timed | {'by': one} for one in names]}
        rows += timed['rows']
    return rows


def _has(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
