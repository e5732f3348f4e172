# SPDX-License-Identifier: Apache-2.0
"""One network, in a process of its own: `python -m tools.bench.one_network '{...}'`.

A process each, because memory is the high water of a whole process, and because what one network
leaves in caches would be another one's head start. Prints one JSON object.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from depth_ros import models
from depth_ros.core.errors import DepthRosError
from depth_ros.models import ModelOptions, mkldnn_linear
from depth_ros.pipeline.build import DTYPES, trial_frame
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph
from tools.bench import beside, random_weights
from tools.bench.timing import Call, take_turns, waiter

MINUTES_S = 60.0  #: calls that take longer are timed once


def measure(
    preset: str,
    who: list[str],
    device: str,
    precision: str,
    threads: int,
    budget_s: float,
    size: tuple[int, int] = (640, 480),
) -> dict[str, Any]:
    """Time networks in turns, and what a memory of them takes.

    Args:
        preset: name of it.
        who: of 'ours', 'transformers' and 'onnxruntime', which needs ours.
        device: torch's name for it.
        precision: a key of `DTYPES`.
        threads: on a CPU.
        budget_s: for the timing; 0 makes one forward pass of noise and tells memory only.
        size: of the camera's picture, width and height [px]; its network's input is the usual one.
    """
    where, dtype = torch.device(device), DTYPES[precision]
    torch.set_num_threads(threads)
    options = ModelOptions(device=where, dtype=dtype, threads=threads)
    _import_all(preset, who)
    before = _memory_mb(where, 'VmRSS')
    calls: dict[str, Call] = {}
    found: dict[str, Any] = {}
    theirs: Any = None
    inputs = [_input_of(preset, where, dtype, size)] if not budget_s else []
    if 'transformers' in who:
        theirs = beside.transformers_network(preset)
        calls['transformers'] = lambda: theirs(pixel_values=inputs[0]).predicted_depth
    if 'ours' in who:
        model, found['same_weights'] = _ours(preset, options, theirs)
        inputs = inputs or usual_input(model, where, size)
        use_cuda_graph(model, where)  # as in the node
        network = getattr(model, 'cuda_graph', None) or model.network
        calls = {'ours': lambda: network(*inputs), **calls}
    if 'transformers' in who:
        theirs = theirs.to(where, dtype).requires_grad_(False)
    if 'onnxruntime' in who:
        with mock.patch.object(mkldnn_linear, 'is_beneficial', lambda *_: False):  # not exportable
            plain, _ = _ours(preset, options, theirs)
        session = beside.OnnxRuntime(plain.network, inputs[0], threads)
        calls['onnxruntime'] = lambda: session(inputs[0])
    started_s = time.perf_counter()
    answers, found['gflop'] = _first(calls)
    slow = time.perf_counter() - started_s > MINUTES_S
    waiter(where)()
    found |= {'input': [list(x.shape) for x in inputs]}
    found |= {'memory_mb': round(_memory_mb(where) - before, 1), 'imports_mb': before}
    found['parameters'] = {}
    if 'ours' in who:  # whose layers may be replaced
        found['parameters']['ours'] = random_weights.parameters_of(preset)
    if 'transformers' in who:
        found['parameters']['transformers'] = _parameters(theirs)
    if budget_s:
        with torch.inference_mode():
            found['times'] = take_turns(
                calls, budget_s=budget_s, least=1 if slow else 3, warm=slow, wait=waiter(where)
            )
            found['matrix_tflops'] = matrix_tflops(where, dtype, budget_s / 4)
        found['difference'] = _differences(answers)
    return found


def _first(calls: dict[str, Call]) -> tuple[dict[str, Any], dict[str, float]]:
    """What each answers the first time, and the work it was."""
    answers, work = {}, {}
    for name, call in calls.items():
        answers[name], count = counted(call)
        if count:  # onnxruntime's is not seen
            work[name] = round(count, 3)
    return answers, work


class _Seen(Exception):
    """Ends a prediction at the door of its network, which may take minutes; with its input."""


def usual_input(model: Any, device: torch.device, size: tuple[int, int]) -> list[Tensor]:
    """What the preset's network is given for a picture of this size, as `predict` does it."""

    def look(_: object, given: tuple[Tensor, ...]) -> None:
        raise _Seen([x.clone() for x in given])

    hook = model.network.register_forward_pre_hook(look)
    try:
        with torch.inference_mode():
            model.predict(trial_frame(device, *size))
    except _Seen as seen:
        return list(seen.args[0])
    finally:
        hook.remove()
    raise AssertionError(f'{model} predicts without its network')


def counted(call: Call) -> tuple[Any, float]:
    """What a call answers, and its GFLOP as torch counts them; multiply and add are two."""
    known = {torch.ops.aten.mkldnn_linear: _linear_flop}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=known) as counter:
        answer = call()
    return answer, counter.get_total_flops() / 1e9


def _linear_flop(x: list[int], weight: list[int], *_: object, **__: object) -> int:
    """Of what torch's counter does not know: x (..., in), weight (out, in)."""
    return 2 * math.prod(x) * weight[0]


def gflop(call: Call) -> float:
    """The work of a call; see `counted`."""
    return counted(call)[1]


def matrix_tflops(device: torch.device, dtype: torch.dtype, budget_s: float) -> float:
    """What a big square matrix product reaches here, now: the peak that networks are held to."""
    n = 8192 if device.type == 'cuda' else 1536
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    ways: dict[str, Call] = {'torch': lambda: a @ b}
    if mkldnn_linear.is_beneficial(device, dtype):
        layer = mkldnn_linear.MkldnnLinear(nn.Linear(n, n))
        ways['packed'] = lambda: layer(a)
    times = take_turns(ways, budget_s=budget_s, least=5, wait=waiter(device))
    return round(2 * n**3 / min(way['median_ms'] for way in times.values()) / 1e9, 4)


def _ours(preset: str, options: ModelOptions, theirs: Any) -> tuple[Any, bool]:
    """Ours with the weights of theirs, as a file of theirs; with random ones if it takes none."""
    if theirs is not None:
        with tempfile.TemporaryDirectory() as folder:
            theirs.save_pretrained(folder)
            given = dataclasses.replace(options, weights=Path(folder) / 'model.safetensors')
            try:
                return models.load(preset, given), True
            except DepthRosError as error:
                logging.warning('random weights instead: %s', error)
    return random_weights.load(preset, options), False


def _input_of(
    preset: str, device: torch.device, dtype: torch.dtype, size: tuple[int, int]
) -> Tensor:
    empty: Any = random_weights.load(
        preset, ModelOptions(device=torch.device('meta'), dtype=dtype), empty=True
    )
    shape = empty.network_input(trial_frame(torch.device('meta'), *size)).shape
    shape = shape if len(shape) == 4 else (1, *shape)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)


def _differences(answers: dict[str, Any]) -> dict[str, float]:
    """Largest difference from ours, as a part of the largest value, where ours is there."""
    maps = {n: a[0] if isinstance(a, tuple) else a for n, a in answers.items()}
    mine = maps.pop('ours', None)
    if mine is None:
        return {}
    mine, found = mine.float().squeeze(), {}
    for name, other in maps.items():
        other = other.float().squeeze().to(mine.device)
        if other.shape == mine.shape:
            found[name] = float(f'{((other - mine).abs().max() / mine.abs().max()).item():.2g}')
    return found


def _parameters(network: Any) -> int:
    return sum(p.numel() for p in network.parameters())


def _import_all(preset: str, who: list[str]) -> None:
    """What a process loads whatever the size of the network; not counted as its memory."""
    random_weights.load(preset, ModelOptions(device=torch.device('meta')), empty=True)
    if 'transformers' in who:
        with torch.device('meta'):
            beside.transformers_network(preset)


def _memory_mb(device: torch.device, which: str = 'VmHWM') -> float:
    """High water: of the device's memory, or of the process; `VmRSS` is what it has now."""
    if device.type == 'cuda':
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    status = Path('/proc/self/status').read_text().splitlines()
    # not getrusage, which starts from what the parent had
    return round(int(next(s for s in status if s.startswith(which)).split()[1]) / 1024, 1)


if __name__ == '__main__':
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
