# SPDX-License-Identifier: Apache-2.0
"""Time calls: warmed up, repeated, and interleaved with the calls they are compared with.

Results are medians and 95th percentiles. If the machine slows down, interleaved calls slow down
alike, so ratios of medians are more reliable than milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

Call = Callable[[], object]
Numbers = dict[str, float | int]


def time_interleaved(
    calls: Mapping[str, Call],
    *,
    budget_s: float,
    min_rounds: int = 5,
    max_rounds: int = 300,
    pause_s: float = 0.0,
    warm: bool = False,
    wait: Call = lambda: None,
) -> dict[str, Numbers]:
    """Time calls in rounds, one after the other.

    Args:
        calls: name -> call.
        budget_s: after this time the present round is the last one.
        min_rounds: minimum number of rounds, regardless of the budget.
        max_rounds: maximum number of rounds.
        pause_s: pause before each call, which is not timed.
        warm: the calls have run before; otherwise they first run for a quarter of the budget.
        wait: waits for the device; its time is included.

    Returns:
        name -> median_ms, p95_ms, repeats.
    """
    warm_until = time.perf_counter() + budget_s / 4
    # the first call allocates memory and selects kernels; the others raise the clock rate
    for _ in range(0 if warm else 10):
        for call in calls.values():
            call()
        wait()
        if time.perf_counter() > warm_until:
            break
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + budget_s
    for k in range(max_rounds):
        if k >= min_rounds and time.perf_counter() > end:
            break
        for name, call in calls.items():
            if pause_s:
                time.sleep(pause_s)
            started = time.perf_counter()
            call()
            wait()
            times[name].append(time.perf_counter() - started)
    return {name: statistics(seconds) for name, seconds in times.items()}


def statistics(seconds: list[float]) -> Numbers:
    """Median, 95th percentile and number of times."""
    ms = 1e3 * np.array(seconds)
    return {
        'median_ms': round(float(np.median(ms)), 4),
        'p95_ms': round(float(np.percentile(ms, 95)), 4),
        'repeats': len(seconds),
    }


def stage_row(
    stage: str, width: int, height: int, size: int, times: Mapping[str, Numbers]
) -> dict[str, object]:
    """Row of a stage from results of `time_interleaved`, with the memcpy of its `size` bytes."""
    memcpy_ms = times['memcpy']['median_ms'] if 'memcpy' in times else None
    of_image = {'stage': stage, 'size': f'{width}x{height}'}
    return {**of_image, **times['stage'], 'bytes': size, 'memcpy_ms': memcpy_ms}


def synchronizer(device: torch.device) -> Call:
    """Function that waits for the device; for `time_interleaved`."""
    if device.type == 'cuda':
        return lambda: torch.cuda.synchronize(device)
    return lambda: None


class Copier:
    """Copies `size` bytes at each call, between eight blocks in turn, so that caches are cold.

    Args:
        size: of a block [bytes].
        device: of the blocks; default: CPU.
    """

    def __init__(self, size: int, device: torch.device | None = None) -> None:
        self.blocks = [torch.full((size,), k, dtype=torch.uint8, device=device) for k in range(8)]
        on_cpu = not device or device.type == 'cpu'
        self._arrays = [block.numpy() for block in self.blocks] if on_cpu else None
        self._turn = 0

    def __call__(self) -> None:
        """Copy one block to another."""
        to, source = self._turn % 8, (self._turn + 3) % 8
        if self._arrays:  # numpy, as torch would use several cores
            np.copyto(self._arrays[to], self._arrays[source])
        else:
            self.blocks[to].copy_(self.blocks[source])
        self._turn += 1
