# SPDX-License-Identifier: Apache-2.0
"""A process that exports a network, compares engines with torch, and measures them.

Another process than the node, because an engine may end it, take minutes, or not give its memory
back. The request comes through the standard input, which stays open as long as the answer is
wanted; the answers go to the standard output, a line of JSON for each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import cv2
import torch
from torch import Tensor

from depth_ros import models
from depth_ros.core.errors import ConfigError, WeightsError, first_line
from depth_ros.core.types import Frame
from depth_ros.models import DepthModel, ModelOptions
from depth_ros.pipeline.engines import NETWORK, TORCH, Target
from depth_ros.pipeline.engines.cache import is_whole, list_files
from depth_ros.pipeline.engines.compare import TOLERANCE, compare
from depth_ros.pipeline.engines.exported import in_words, write_onnx
from depth_ros.pipeline.engines.in_torch import load_unchecked
from depth_ros.pipeline.engines.targets import engine_named
from depth_ros.pipeline.trial_frame import trial_frame

CLEARLY = 1.5  #: times slower than the fastest, after which no more is measured
SLOW_S = 3.0  #: a network that takes longer is not run again
IN_TURNS_S = 1.0  #: for two that are compared

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be measured.

    Args:
        name: of the preset.
        options: of the network.
        size: of the trial image, width and height [px].
        shape: of the input of the network for that image; None if it cannot be exported.
        folder: of the network in the cache.
        targets: to be measured, in this order.
        cuda_graphs: with torch on a GPU.
    """

    name: str
    options: ModelOptions
    size: tuple[int, int]
    shape: tuple[int, ...] | None
    folder: Path
    targets: list[Target]
    cuda_graphs: bool


def answer(request: Request, tell: Tell) -> None:
    """Measure all targets of a request.

    Args:
        request: see there.
        tell: called with `exported_s`, and for each target with its number as `target` and either
            `ms`, `difference` (median, from torch in fp32) and the fastest until then as `best`,
            or the reason under `failed`.
    """
    torch.set_num_threads(request.options.threads)
    cv2.setNumThreads(1)
    frame = trial_frame(request.options.device, *request.size)
    options, broken = request.options, ''
    is_new = any(one.engine != TORCH for one in request.targets) and not _is_exported(request)
    on_cpu = options.device.type == 'cpu'
    # on a CPU the network that is exported is the one to compare with, too
    loaded: Any = models.load(
        request.name, dataclasses.replace(options, exportable=is_new and on_cpu)
    )
    first_s, expected = _run(loaded, frame)
    best: tuple[int, DepthModel, float] | None = None
    for k in order_of(request.targets):
        target = request.targets[k]
        if is_new and target.engine != TORCH:
            try:
                tell({'exported_s': _export(request, loaded if on_cpu else None)})
            except Exception as error:  # of many libraries
                broken = first_line(error)
            is_new = False
            if on_cpu:
                loaded = None  # torch alone has faster layers
        try:
            if target.engine != TORCH and broken:
                raise RuntimeError(broken)
            if (target.engine, target.precision) == (TORCH, 'fp32') and loaded is not None:
                model, seconds, difference = loaded, first_s, 0.0
            else:
                model = _open(request, target)
                seconds, values = _run(model, frame)
                difference = compare(values, expected)
        except Exception as error:
            tell({'target': k, 'failed': first_line(error)})
            continue
        if difference > TOLERANCE:
            why = f'it is {100 * difference:.3g} % from torch in fp32'
            tell({'target': k, 'failed': why, 'difference': difference})
            continue
        if best is None:
            if len(request.targets) > 1:
                seconds, _ = _in_turns((model, seconds), None, frame)
            best = k, model, seconds
        else:
            seconds, of_best = _in_turns((model, seconds), best[1:], frame)
            if seconds < of_best:
                best = k, model, seconds
        tell({'target': k, 'ms': 1e3 * seconds, 'difference': difference, 'best': best[0]})


def without_weights(name: str, options: ModelOptions) -> Any:
    """The model with a network that has no memory, if the family can do that."""
    return models.load(name, dataclasses.replace(options, without_weights=True))


def folder_of(folder: Path, shape: tuple[int, ...]) -> Path:
    """Of the files for an input size."""
    return folder / in_words(shape)


def order_of(targets: list[Target]) -> list[int]:
    """The order in which targets are measured, as the time is limited.

    The one that is likely to be the fastest comes first, except that torch in half precision comes
    before all that need an export: of a network with 1e9 parameters that takes minutes.
    """

    def key(k: int) -> tuple[int, bool]:
        is_exact = targets[k].precision == 'fp32'
        return (1 if targets[k].engine != TORCH else 2 * is_exact), is_exact

    return sorted(range(len(targets)), key=key)


def _is_exported(request: Request) -> bool:
    return request.shape is not None and is_whole(folder_of(request.folder, request.shape))


def _export(request: Request, has_run: Any) -> float:
    """Export the network; returns the time that it took [s].

    Args:
        request: of the network.
        has_run: the model on the CPU, after a run; None to load it.
    """
    assert request.shape is not None
    folder = folder_of(request.folder, request.shape)
    started_s = time.monotonic()
    options = dataclasses.replace(request.options, exportable=True, device=torch.device('cpu'))
    model: Any = has_run or models.load(request.name, options)
    frame = trial_frame(options.device, *request.size)
    x = model.network_input(frame)[None].contiguous(memory_format=torch.channels_last)
    if tuple(x.shape) != request.shape:
        raise RuntimeError(f'the input is {in_words(x.shape)} instead')
    # under another name first, so that an export that is killed is never taken for a whole one
    part = Path(mkdtemp(prefix=f'{folder.name}.', suffix='.part', dir=folder.parent))
    try:
        write_onnx(model.network, x, part / NETWORK, has_run=has_run is not None)
        list_files(part)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return time.monotonic() - started_s


def _open(request: Request, target: Target) -> DepthModel:
    if target.engine == TORCH:
        return load_unchecked(
            request.name, request.options, target.precision, cuda_graphs=request.cuda_graphs
        )
    assert request.shape is not None
    folder = folder_of(request.folder, request.shape)
    model: Any = without_weights(request.name, request.options)
    model.engine = engine_named(target.engine).open(folder, target)
    list_files(folder)
    return model  # type: ignore[no-any-return]


def _run(model: DepthModel, frame: Frame) -> tuple[float, Tensor]:
    started_s = time.perf_counter()
    values = model.predict(frame).values
    if values.is_cuda:
        torch.cuda.synchronize(values.device)
    return time.perf_counter() - started_s, values


def _in_turns(
    one: tuple[DepthModel, float], other: tuple[DepthModel, float] | None, frame: Frame
) -> tuple[float, float]:
    """Median times of one or two models [s], which have run before in the given times."""
    both = [one] if other is None else [one, other]
    if max(seconds for _, seconds in both) > SLOW_S:
        return one[1], other[1] if other else 0.0
    times: list[list[float]] = [[] for _ in both]
    end_s = time.monotonic() + IN_TURNS_S
    while len(times[0]) < 3 or time.monotonic() < end_s:
        for seen, (model, _) in zip(times, both, strict=True):
            seen.append(_run(model, frame)[0])
        if min(times[0]) > CLEARLY * min(times[-1]):
            break
    medians = [statistics.median(seen) for seen in times]
    return medians[0], medians[-1]


def _end_with_the_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    """Answer the request on the standard input."""
    # what libraries print there is no answer
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    with contextlib.suppress(OSError):  # where memory runs out, this is ended and not the node
        Path('/proc/self/oom_score_adj').write_text('1000')
    request = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()

    def tell(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        with torch.inference_mode():
            answer(request, tell)
    except (ConfigError, WeightsError) as error:
        tell({'refused': type(error).__name__, 'because': str(error)})
    tell({'done': True})
    os._exit(0)  # the interpreter would wait for the thread


if __name__ == '__main__':
    main()
