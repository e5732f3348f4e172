# SPDX-License-Identifier: Apache-2.0
"""What the node is doing, on /diagnostics: two statuses, `camera` and `depth`."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Timing:
    """The last frames' stamps, latencies and processing times; written by the worker."""

    def __init__(self, size: int = 120) -> None:
        """Remember `size` frames."""
        self._lock = threading.Lock()
        self._frames: deque[tuple[float, float, float]] = deque(maxlen=size)

    def add(self, now_s: float, latency_s: float, busy_s: float) -> None:
        """Published at `now_s` (monotonic), `latency_s` after its stamp, `busy_s` of it work."""
        with self._lock:
            self._frames.append((now_s, latency_s, busy_s))

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._frames.clear()

    def summary(self, now_s: float, window_s: float = 5.0) -> dict[str, float]:
        """Rate [Hz], latency and work [ms] over the last `window_s`; empty if idle."""
        with self._lock:
            frames = [f for f in self._frames if now_s - f[0] <= window_s]
        if len(frames) < 2:
            return {}
        t, latency, busy = np.array(frames).T
        return {
            'rate [Hz]': (len(frames) - 1) / max(t[-1] - t[0], 1e-9),
            'latency p50 [ms]': 1e3 * float(np.percentile(latency, 50)),
            'latency p99 [ms]': 1e3 * float(np.percentile(latency, 99)),
            'processing p50 [ms]': 1e3 * float(np.percentile(busy, 50)),
        }


def status(name: str, level: bytes, message: str, values: dict[str, Any]) -> DiagnosticStatus:
    """A DiagnosticStatus; floats are rounded for people."""
    shown = {k: f'{v:.2f}' if isinstance(v, float) else str(v) for k, v in values.items()}
    return DiagnosticStatus(
        name=name,
        level=level,
        message=message,
        hardware_id='depth_ros',
        values=[KeyValue(key=k, value=v) for k, v in shown.items()],
    )


def array(stamp: Any, statuses: list[DiagnosticStatus]) -> DiagnosticArray:
    """The message."""
    message = DiagnosticArray(status=statuses)
    message.header.stamp = stamp
    return message
