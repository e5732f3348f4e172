# SPDX-License-Identifier: Apache-2.0
"""How long a call takes: warmed up, repeated, in turns with what it is compared with.

Every number is a median with its 95th percentile. A machine that slows down slows all that take
turns alike, so ratios of medians of one run hold where the milliseconds do not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

Call = Callable[[], object]
Numbers = dict[str, float | int]


def take_turns(
    calls: Mapping[str, Call],
    *,
    budget_s: float,
    least: int = 5,
    most: int = 300,
    pause_s: float = 0.0,
    warm: bool = False,
    wait: Call = lambda: None,
) -> dict[str, Numbers]:
    """Time each call, one after the other, again and again.

    Args:
        calls: name -> what to time.
        budget_s: when this is used up the round at hand is the last, but for `least`.
        least: rounds that are made however long they take.
        most: rounds.
        pause_s: before each call, not timed; for what queues up otherwise.
        warm: all has run before; else it is first run for a quarter of the budget.
        wait: until the device has done all it was told; timed.

    Returns:
        name -> median_ms, p95_ms, repeats.
    """
    warm_until = time.perf_counter() + budget_s / 4
    # the first one allocates and chooses; the clock rises with the others
    for _ in range(0 if warm else 10):
        for call in calls.values():
            call()
        wait()
        if time.perf_counter() > warm_until:
            break
    took: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + budget_s
    for turn in range(most):
        if turn >= least and time.perf_counter() > end:
            break
        for name, call in calls.items():
            if pause_s:
                time.sleep(pause_s)
            started = time.perf_counter()
            call()
            wait()
            took[name].append(time.perf_counter() - started)
    return {name: numbers(seconds) for name, seconds in took.items()}


def numbers(seconds: list[float]) -> Numbers:
    """Median and 95th percentile of what repeats took."""
    ms = 1e3 * np.array(seconds)
    return {
        'median_ms': round(float(np.median(ms)), 4),
        'p95_ms': round(float(np.percentile(ms, 95)), 4),
        'repeats': len(seconds),
    }


def stage_row(
    stage: str, width: int, height: int, size: int, times: Mapping[str, Numbers]
) -> dict[str, object]:
    """A stage's numbers from `take_turns`, beside those of the memcpy of its `size` bytes."""
    copied = times['memcpy']['median_ms'] if 'memcpy' in times else None
    of_image = {'stage': stage, 'size': f'{width}x{height}'}
    return {**of_image, **times['stage'], 'bytes': size, 'memcpy_ms': copied}


def waiter(device: torch.device) -> Call:
    """What `take_turns` waits with."""
    if device.type == 'cuda':
        return lambda: torch.cuda.synchronize(device)
    return lambda: None


class Copier:
    """Copies `size` bytes at each call, on the device; cache-cold, eight blocks in turn.

    Args:
        size: of a block [bytes].
        device: where the blocks are; the CPU if absent.
    """

    def __init__(self, size: int, device: torch.device | None = None) -> None:
        self.blocks = [torch.full((size,), k, dtype=torch.uint8, device=device) for k in range(8)]
        on_cpu = not device or device.type == 'cpu'
        self._arrays = [block.numpy() for block in self.blocks] if on_cpu else None
        self._turn = 0

    def __call__(self) -> None:
        """Copy one block into another."""
        to, source = self._turn % 8, (self._turn + 3) % 8
        if self._arrays:  # on one core, as a node would
            np.copyto(self._arrays[to], self._arrays[source])
        else:
            self.blocks[to].copy_(self.blocks[source])
        self._turn += 1
