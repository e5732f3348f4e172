# SPDX-License-Identifier: Apache-2.0
"""Measure the engines of one network: `python -m tools.bench.one_engine '{...}'`.

Prints one JSON object: with a budget the times of all in turns, without one the memory and the
time to open of a single one.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depth_ros.core.errors import first_line
from depth_ros.models import ModelOptions
from depth_ros.pipeline.device import DTYPES
from depth_ros.pipeline.engines import NETWORK, TORCH, Target
from depth_ros.pipeline.engines.compare import compare
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph
from depth_ros.pipeline.engines.exported import write_onnx
from depth_ros.pipeline.engines.targets import engine_named
from tools.bench import random_weights
from tools.bench.one_network import default_input, first_map, input_of, memory_mb, ours
from tools.bench.other_runtimes import transformers_network
from tools.bench.timing import Call, synchronizer, time_interleaved

SIZE = (640, 480)  #: of the image of the camera, width and height [px]
EXPECTED = 'expected.pt'  #: output of the first that runs
SLOW_S = 20.0  #: together for a call of each; then each is timed once


def measure(
    preset: str,
    folder: str,
    targets: list[list[Any]],
    others: list[str],
    device: str,
    threads: int,
    budget_s: float,
) -> dict[str, Any]:
    """Time targets in turns, or measure the memory of one.

    Args:
        preset: name of the preset.
        folder: of the exported network, which the first that needs it makes.
        targets: fields of `Target`.
        others: what to compare with: 'transformers' or 'openvino, its defaults'.
        device: of torch.
        threads: of the CPU.
        budget_s: for the timing; 0 measures memory.
    """
    wanted, where = [Target(*fields) for fields in targets], torch.device(device)
    torch.set_num_threads(threads)
    options = ModelOptions(device=where, threads=threads)
    if not budget_s:
        return _memory(preset, options, wanted[0], Path(folder))
    theirs = transformers_network(preset) if 'transformers' in others else None
    plain, same_weights = ours(preset, dataclasses.replace(options, exportable=True), theirs)
    (x,) = default_input(plain, where, SIZE)
    needs_file = any(one.engine != TORCH for one in wanted)
    failed = ''
    if needs_file and not (Path(folder) / NETWORK).exists():
        try:
            write_onnx(plain.network.cpu(), x.cpu(), Path(folder) / NETWORK)
        except Exception as error:
            failed = first_line(error)
    if all(one.engine != TORCH for one in wanted):
        plain = None  # its memory
    calls: dict[str, Call] = {}
    rows: list[dict[str, Any]] = []
    for one in wanted:
        row = {'by': f'{one.engine} {one.precision}', 'engine': one.engine, 'on': one.device}
        rows.append(row)
        try:
            if one.engine != TORCH and failed:
                raise RuntimeError(failed)
            calls[row['by'] + one.device] = _call(preset, options, one, Path(folder), x, plain)
        except Exception as error:
            row['failed'] = first_line(error)
    if theirs is not None:
        network = theirs.to(where).requires_grad_(False)
        calls['transformers'] = lambda: network(pixel_values=x).predicted_depth
        rows.append({'by': 'transformers fp32', 'same_weights': same_weights})
    if 'openvino, its defaults' in others and not failed:
        calls['openvino, its defaults'] = _defaults(Path(folder), threads, x)
        rows.append({'by': 'openvino, its defaults'})
    good = [row for row in rows if 'failed' not in row]
    plain = None
    with torch.inference_mode():
        started_s = time.perf_counter()
        outputs = [first_map(call()).squeeze().cpu() for call in calls.values()]
        slow = time.perf_counter() - started_s > SLOW_S
        times = time_interleaved(
            calls,
            budget_s=budget_s,
            min_rounds=1 if slow else 3,
            warm=slow,
            wait=synchronizer(where),
        )
    expected = Path(folder) / EXPECTED
    if not expected.exists():
        torch.save(outputs[0], expected)
    reference = torch.load(expected)
    for row, time_of, output in zip(good, times.values(), outputs, strict=True):
        row |= time_of
        row['difference_percent'] = round(100 * compare(output, reference), 5)
    return {'rows': rows}


def _call(
    preset: str, options: ModelOptions, target: Target, folder: Path, x: Tensor, like: Any
) -> Call:
    if target.engine != TORCH:
        run = engine_named(target.engine).open(folder, target)
        return lambda: run(x)
    dtype = DTYPES[target.precision]
    model: Any = random_weights.load(preset, dataclasses.replace(options, dtype=dtype), like=like)
    use_cuda_graph(model, options.device)
    network, given = getattr(model, 'engine', None) or model.network, x.to(dtype)
    return lambda: network(given)


def _defaults(folder: Path, threads: int, x: Tensor) -> Call:
    """OpenVINO as people start it, on as many threads."""
    engine_named('openvino').version()  # imports it without a report to its makers
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(folder / NETWORK, 'CPU', {'INFERENCE_NUM_THREADS': threads})
    given = x.contiguous().numpy()
    return lambda: torch.from_numpy(compiled(given)[0].copy())


def _memory(preset: str, options: ModelOptions, target: Target, folder: Path) -> dict[str, Any]:
    """Peak memory and time to open of one target, of which the imports are no part."""
    x = input_of(preset, options.device, torch.float32, SIZE)
    if target.engine != TORCH:
        engine_named(target.engine).devices()
    before = memory_mb(options.device, 'VmRSS')
    started_s = time.perf_counter()
    call = _call(preset, options, target, folder, x, None)
    opened_s = time.perf_counter() - started_s
    with torch.inference_mode():
        call()
    peak = memory_mb(options.device)
    return {'memory_mb': round(peak - before, 1), 'open_s': round(opened_s, 2)}


if __name__ == '__main__':
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
