# SPDX-License-Identifier: Apache-2.0
"""Measure one network in a separate process: `python -m tools.bench.one_network '{...}'`.

Each network has its own process because peak memory is measured for a whole process, and so that
caches of one network do not speed up another. Prints one JSON object.
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

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from depth_ros import models
from depth_ros.core.errors import DepthRosError
from depth_ros.models import ModelOptions, mkldnn_linear
from depth_ros.pipeline.device import DTYPES
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph
from depth_ros.pipeline.trial_frame import trial_frame
from tools.bench import other_runtimes, random_weights
from tools.bench.timing import Call, synchronizer, time_interleaved

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
    """Time runtimes interleaved, and measure peak memory.

    Args:
        preset: name of the preset.
        who: 'ours', 'transformers' or both.
        device: name in torch.
        precision: a key of `DTYPES`.
        threads: CPU threads.
        budget_s: for the timing; 0 runs one forward pass of noise and measures memory only.
        size: width and height of the image of the camera [px]; the network has its default input.
    """
    where, dtype = torch.device(device), DTYPES[precision]
    torch.set_num_threads(threads)
    options = ModelOptions(device=where, dtype=dtype, threads=threads)
    _import_all(preset, who)
    before = memory_mb(where, 'VmRSS')
    calls: dict[str, Call] = {}
    result: dict[str, Any] = {}
    theirs: Any = None
    inputs = [input_of(preset, where, dtype, size)] if not budget_s else []
    if 'transformers' in who:
        theirs = other_runtimes.transformers_network(preset)
        calls['transformers'] = lambda: theirs(pixel_values=inputs[0]).predicted_depth
    if 'ours' in who:
        model, result['same_weights'] = ours(preset, options, theirs)
        inputs = inputs or default_input(model, where, size)
        use_cuda_graph(model, where)  # as in the node
        network = getattr(model, 'engine', None) or model.network
        calls = {'ours': lambda: network(*inputs), **calls}
    if 'transformers' in who:
        theirs = theirs.to(where, dtype).requires_grad_(False)
    started_s = time.perf_counter()
    outputs, result['gflop'] = _first(calls)
    slow = time.perf_counter() - started_s > MINUTES_S
    synchronizer(where)()
    result |= {'input': [list(x.shape) for x in inputs]}
    result |= {'memory_mb': round(memory_mb(where) - before, 1), 'imports_mb': before}
    result['parameters'] = {}
    if 'ours' in who:  # whose layers may be replaced
        result['parameters']['ours'] = random_weights.count_parameters(preset)
    if 'transformers' in who:
        result['parameters']['transformers'] = _parameters(theirs)
    if budget_s:
        with torch.inference_mode():
            result['times'] = time_interleaved(
                calls,
                budget_s=budget_s,
                min_rounds=1 if slow else 3,
                warm=slow,
                wait=synchronizer(where),
            )
            result['matrix_tflops'] = matrix_tflops(where, dtype, budget_s / 4)
        result['difference'] = _differences(outputs)
    return result


def _first(calls: dict[str, Call]) -> tuple[dict[str, Any], dict[str, float]]:
    """Output and GFLOP of the first call of each runtime."""
    outputs, work = {}, {}
    for name, call in calls.items():
        outputs[name], count = count_flops(call)
        work[name] = round(count, 3)
    return outputs, work


class _InputReady(Exception):
    """Raised with the input of a network instead of running it, which may take minutes."""


def default_input(model: Any, device: torch.device, size: tuple[int, int]) -> list[Tensor]:
    """Inputs of the network for an image of `size` (width, height), as in `predict`."""

    def stop(_: object, inputs: tuple[Tensor, ...]) -> None:
        raise _InputReady([x.clone() for x in inputs])

    hook = model.network.register_forward_pre_hook(stop)
    try:
        with torch.inference_mode():
            model.predict(trial_frame(device, *size))
    except _InputReady as ready:
        return list(ready.args[0])
    finally:
        hook.remove()
    raise AssertionError(f'{model} did not run its network')


def count_flops(call: Call) -> tuple[Any, float]:
    """Output of a call, and its GFLOP as torch counts them; a multiply-add is two."""
    known = {torch.ops.aten.mkldnn_linear: _linear_flop}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=known) as counter:
        output = call()
    return output, counter.get_total_flops() / 1e9


def _linear_flop(x: list[int], weight: list[int], *_: object, **__: object) -> int:
    """Operations of mkldnn_linear, which torch does not count: x (..., in), weight (out, in)."""
    return 2 * math.prod(x) * weight[0]


def gflop(call: Call) -> float:
    """GFLOP of a call; see `count_flops`."""
    return count_flops(call)[1]


def matrix_tflops(
    device: torch.device, dtype: torch.dtype, budget_s: float, side: int | None = None
) -> float:
    """TFLOP/s of a large square matrix product, as the reference for networks."""
    n = side or (8192 if device.type == 'cuda' else 1536)
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    ways: dict[str, Call] = {'torch': lambda: a @ b}
    if mkldnn_linear.is_beneficial(device, dtype):
        layer = mkldnn_linear.MkldnnLinear(nn.Linear(n, n))
        ways['packed'] = lambda: layer(a)
    times = time_interleaved(ways, budget_s=budget_s, min_rounds=5, wait=synchronizer(device))
    return round(2 * n**3 / min(way['median_ms'] for way in times.values()) / 1e9, 4)


def ours(preset: str, options: ModelOptions, theirs: Any) -> tuple[Any, bool]:
    """Our network, with the weights of theirs if it can load them; and whether it did."""
    if theirs is not None:
        with tempfile.TemporaryDirectory() as folder:
            theirs.save_pretrained(folder)
            with_weights = dataclasses.replace(options, weights=Path(folder) / 'model.safetensors')
            try:
                return models.load(preset, with_weights), True
            except DepthRosError as error:
                logging.warning('random weights instead: %s', error)
    return random_weights.load(preset, options), False


def input_of(
    preset: str, device: torch.device, dtype: torch.dtype, size: tuple[int, int]
) -> Tensor:
    """Noise of the shape that the network gets for an image of `size` (width, height)."""
    empty: Any = random_weights.load(
        preset, ModelOptions(device=torch.device('meta'), dtype=dtype), empty=True
    )
    shape = empty.network_input(trial_frame(torch.device('meta'), *size)).shape
    shape = shape if len(shape) == 4 else (1, *shape)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)


def first_map(output: Any) -> Tensor:
    """The first tensor of an output, whatever holds it, as float32."""
    while not isinstance(output, Tensor):
        output = next(iter(output.values() if isinstance(output, dict) else output))
    return output.float()


def _differences(outputs: dict[str, Any]) -> dict[str, float]:
    """Largest difference from our output, relative to its largest value."""
    maps = {name: first_map(output) for name, output in outputs.items()}
    ours = maps.pop('ours', None)
    if ours is None:
        return {}
    ours, differences = ours.squeeze(), {}
    for name, other in maps.items():
        other = other.squeeze().to(ours.device)
        if other.shape == ours.shape:
            relative = (other - ours).abs().max() / ours.abs().max()
            differences[name] = float(f'{relative.item():.2g}')
    return differences


def _parameters(network: Any) -> int:
    return sum(p.numel() for p in network.parameters())


def _import_all(preset: str, who: list[str]) -> None:
    """Import everything, so that memory of libraries is not counted for the network."""
    random_weights.load(preset, ModelOptions(device=torch.device('meta')), empty=True)
    if 'transformers' in who:
        with torch.device('meta'):
            other_runtimes.build(preset)


def memory_mb(device: torch.device, which: str = 'VmHWM') -> float:
    """Peak memory of the device or the process [MB]; `VmRSS` is the present one."""
    if device.type == 'cuda':
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    status = Path('/proc/self/status').read_text().splitlines()
    # getrusage would include the peak of the parent process
    return round(int(next(s for s in status if s.startswith(which)).split()[1]) / 1024, 1)


if __name__ == '__main__':
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
