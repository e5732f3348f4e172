# SPDX-License-Identifier: Apache-2.0
"""Every network at its usual input size: time, work, and memory, alone and beside others' code.

One child process a network and precision (`one_network`). Work is counted by
`torch.utils.flop_counter`, and the rate it is done at is held to that of a big square matrix
product in the same precision and process. Where transformers or onnxruntime have the network, it
takes turns with ours in one process with one input and, where ours reads their files, the same
weights; the memory of each is that of a process that runs it alone. Presets with the same layers
and input share a row.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import torch

from depth_ros.core.errors import ConfigError
from depth_ros.models import PRESETS
from depth_ros.pipeline.build import choose_precision
from tools import machine
from tools.bench.beside import ONNX_PRESET, has_family
from tools.bench.options import Options
from tools.bench.random_weights import networks, parameters_of

BUDGET_S = {'cpu': 6.0, 'cuda': 3.0}  #: of the timing of one network
LIMIT_S = 3600  #: of a child, after which something hangs
MOST_ON_CPU = 100e6  #: parameters, without --all


def run(options: Options) -> dict[str, Any]:
    """A row for each network, precision and program that runs it."""
    device = options.torch_device
    usual = machine.precisions(device)
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    for name, presets in networks(options.presets).items():
        if device.type == 'cpu' and not (options.all or options.presets):
            count = parameters_of(name)
            if count > MOST_ON_CPU:
                left_out.append(f'{name}: {count / 1e6:.0f} M parameters; --all takes it')
                continue
        for precision in options.precisions or usual:
            try:
                choose_precision(precision, device, PRESETS[name])
            except ConfigError:
                continue
            found = network(name, presets, precision, options)
            for row in found:
                print(row, flush=True)
            rows += found
    left_out += absent(device)
    where = f'{options.threads} thread' if device.type == 'cpu' else 'convolutions in fp32 by TF32'
    if device.type == 'cuda' and not torch.backends.cudnn.allow_tf32:
        where = 'no TF32'
    return {
        'method': f'in turns, medians; random weights; {where}',
        'precisions': list(options.precisions or usual),
        'rows': rows,
        'left_out': left_out,
    }


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What was measured now, and the rows of before that were not: many take more than one go."""
    again = {(row['preset'], row['precision']) for row in new['rows']}
    kept = [row for row in old['rows'] if (row['preset'], row['precision']) not in again]
    order = list(networks())
    rows = sorted(kept + new['rows'], key=lambda row: order.index(row['preset']))
    known = {row['preset'] for row in rows}
    left_out = [why for why in new['left_out'] if why.partition(':')[0] not in known]
    return {**new, 'rows': rows, 'left_out': left_out}


def network(
    name: str, presets: list[str], precision: str, options: Options
) -> list[dict[str, Any]]:
    """Ours, and beside it whoever has it."""
    who = ['ours']
    if has_family(name) and importlib.util.find_spec('transformers'):
        who.append('transformers')
    onnx = precision == 'fp32' and options.torch_device.type == 'cpu' and not why_no_onnx()
    if onnx and ONNX_PRESET in presets:
        who.append('onnxruntime')
    budget_s = BUDGET_S[options.torch_device.type] * len(who)
    timed = child(name, who, precision, options, budget_s)
    common = {'preset': name, 'same_as': presets[1:], 'precision': precision}
    if 'failed' in timed:
        return [{**common, 'who': 'ours', 'failed': timed['failed']}]
    alone = {'ours': timed} if len(who) == 1 else {}
    for other in who:
        if other not in alone and other != 'onnxruntime':  # exporting takes more than running
            alone[other] = child(name, [other], precision, options, 0.0)
    common |= {'input': timed['input'], 'matrix_tflops': timed['matrix_tflops']}
    return [{**common, **row_of(other, timed, alone.get(other, {}))} for other in who]


def row_of(who: str, timed: dict[str, Any], alone: dict[str, Any]) -> dict[str, Any]:
    """What is told of one program."""
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
        mine = timed['times']['ours']['median_ms']
        row['ours_over_theirs_time'] = round(mine / times['median_ms'], 3)
        row['same_weights'] = timed['same_weights'] or who == 'onnxruntime'
        row['largest_difference'] = timed['difference'].get(who)
    return row


def child(
    name: str, who: list[str], precision: str, options: Options, budget_s: float
) -> dict[str, Any]:
    """Run `one_network`; its numbers, or the last it said under 'failed'."""
    wanted = {
        'preset': name,
        'who': who,
        'device': str(options.torch_device),
        'precision': precision,
        'threads': options.threads,
        'budget_s': budget_s,
    }
    command = [sys.executable, '-m', 'tools.bench.one_network', json.dumps(wanted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return {'failed': f'took more than {LIMIT_S} s'}
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return {'failed': said[-1] if said else f'ended with {done.returncode}'}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def absent(device: torch.device) -> list[str]:
    """What there is nothing beside, and why."""
    reasons = []
    if not importlib.util.find_spec('transformers'):
        reasons.append("transformers: not installed; pip install 'transformers>=5'")
    why = 'beside ours on a CPU only' if device.type == 'cuda' else why_no_onnx()
    if why:
        reasons.append(f'onnxruntime: {why}')
    return reasons


def why_no_onnx() -> str:
    """What is missing to export and run a network; '' if nothing."""
    needs = ('onnxruntime', 'onnx', 'onnxscript')
    missing = [name for name in needs if not importlib.util.find_spec(name)]
    return f'not installed; pip install {" ".join(missing)}' if missing else ''
