# SPDX-License-Identifier: Apache-2.0
"""Time, GFLOP and memory of every network at its default input size, compared with others.

Each network and precision has its own child process (`one_network`). Operations are counted by
`torch.utils.flop_counter`, and their rate is compared with that of a large square matrix product
in the same precision and process. Networks that transformers has are timed
interleaved with ours, with the same input and, if ours can read their files, the same weights;
memory is measured in a process for each. Presets with the same layers and input share a row.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from typing import Any

import torch

from depth_ros.core.errors import ConfigError
from depth_ros.models import PRESETS
from depth_ros.pipeline.device import choose_precision
from tools import machine
from tools.bench.options import Options
from tools.bench.other_runtimes import is_supported
from tools.bench.random_weights import count_parameters, networks

BUDGET_S = {'cpu': 6.0, 'cuda': 3.0}  #: for timing one network
LIMIT_S = 3600  #: timeout of a child process
MAX_ON_CPU = 100e6  #: parameters of a network without --all


def run(options: Options) -> dict[str, Any]:
    """Measure a row for each network, precision and runtime."""
    device = options.torch_device
    supported = machine.precisions(device)
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    for name, presets in networks(options.presets).items():
        if device.type == 'cpu' and not (options.all or options.presets):
            count = count_parameters(name)
            if count > MAX_ON_CPU:
                left_out.append(f'{name}: {count / 1e6:.0f} M parameters; use --all to include it')
                continue
        for precision in options.precisions or supported:
            try:
                choose_precision(precision, device, PRESETS[name])
            except ConfigError:
                continue
            found = measure_network(name, presets, precision, options)
            for row in found:
                print(row, flush=True)
            rows += found
    left_out += missing_runtimes()
    where = f'{options.threads} thread' if device.type == 'cpu' else 'convolutions in fp32 by TF32'
    if device.type == 'cuda' and not torch.backends.cudnn.allow_tf32:
        where = 'no TF32'
    return {
        'method': f'in turns, medians; random weights; {where}',
        'precisions': list(options.precisions or supported),
        'rows': rows,
        'left_out': left_out,
    }


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Combine new rows with those of earlier runs that were not measured again."""
    measured = {(row['preset'], row['precision']) for row in new['rows']}
    kept = [row for row in old['rows'] if (row['preset'], row['precision']) not in measured]
    order = list(networks())
    rows = sorted(kept + new['rows'], key=lambda row: order.index(row['preset']))
    known = {row['preset'] for row in rows}
    left_out = [why for why in new['left_out'] if why.partition(':')[0] not in known]
    return {**new, 'rows': rows, 'left_out': left_out}


def measure_network(
    name: str, presets: list[str], precision: str, options: Options
) -> list[dict[str, Any]]:
    """Measure our network, and the same one in other runtimes."""
    who = ['ours']
    if is_supported(name) and importlib.util.find_spec('transformers'):
        who.append('transformers')
    budget_s = BUDGET_S[options.torch_device.type] * len(who)
    timed = child(name, who, precision, options, budget_s)
    common = {'preset': name, 'same_as': presets[1:], 'precision': precision}
    if 'failed' in timed:
        return [{**common, 'who': 'ours', 'failed': timed['failed']}]
    alone = {'ours': timed} if len(who) == 1 else {}
    for other in who:
        if other not in alone:
            alone[other] = child(name, [other], precision, options, 0.0)
    common |= {'input': timed['input'], 'matrix_tflops': timed['matrix_tflops']}
    return [{**common, **make_row(other, timed, alone.get(other, {}))} for other in who]


def make_row(who: str, timed: dict[str, Any], alone: dict[str, Any]) -> dict[str, Any]:
    """Row of one runtime."""
    times = timed['times'][who]
    work = timed['gflop'].get(who, timed['gflop']['ours'])
    tflops = work / times['median_ms']
    row = {
        'who': who,
        **times,
        'parameters': timed['parameters'].get(who),
        'gflop': round(work, 2),
        'tflops': round(tflops, 4),
        'share_of_matrix_percent': round(100 * tflops / timed['matrix_tflops'], 1),
        'memory_mb': alone.get('memory_mb'),
    }
    if who != 'ours':
        ours = timed['times']['ours']['median_ms']
        row['ours_over_theirs_time'] = round(ours / times['median_ms'], 3)
        row['same_weights'] = timed['same_weights']
        row['largest_difference'] = timed['difference'].get(who)
    return row


def child(
    name: str, who: list[str], precision: str, options: Options, budget_s: float
) -> dict[str, Any]:
    """Run `one_network`; its results, or the last line of its errors under 'failed'."""
    arguments = {
        'preset': name,
        'who': who,
        'device': str(options.torch_device),
        'precision': precision,
        'threads': options.threads,
        'budget_s': budget_s,
    }
    return run_child('tools.bench.one_network', arguments)


def run_child(module: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a module with JSON; its results, or the last line of its errors under 'failed'."""
    command = [sys.executable, '-m', module, json.dumps(arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return {'failed': f'took more than {LIMIT_S} s'}
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return {'failed': f'ended by {name}; SIGKILL is often for lack of memory'}
    if done.returncode:
        errors = done.stderr.strip().splitlines()
        return {'failed': errors[-1] if errors else f'exit status {done.returncode}'}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def missing_runtimes() -> list[str]:
    """Runtimes that are not compared, with reasons."""
    reasons = []
    if not importlib.util.find_spec('transformers'):
        reasons.append("transformers: not installed; pip install 'transformers>=5'")
    return reasons
