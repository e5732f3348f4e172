# SPDX-License-Identifier: Apache-2.0
"""What the node is doing, on /diagnostics: for each camera two statuses, `camera` and `depth`."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

if TYPE_CHECKING:
    from depth_ros.ros.session import Session
    from depth_ros.ros.stream import Stream

BUSY = 'processing p50 [ms]'
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

    def summary(self, now_s: float, window_s: float = 5.0) -> dict[str, float]:
        """Rate [Hz], latency and work [ms] over the last `window_s`; empty if idle."""
        with self._lock:
            frames = [f for f in self._frames if now_s - f[0] <= window_s]
        if len(frames) < 2:
            return {}
        t, latency, busy = np.array(frames).T
        seen = {
            'rate [Hz]': (len(frames) - 1) / max(t[-1] - t[0], 1e-9),
            BUSY: 1e3 * float(np.median(busy)),
        }
        if np.isfinite(latency).all():
            seen['latency p50 [ms]'] = 1e3 * float(np.percentile(latency, 50))
            seen['latency p99 [ms]'] = 1e3 * float(np.percentile(latency, 99))
        return seen


def report(session: Session, silences: list[str]) -> DiagnosticArray:
    """What a session is doing.

    Args:
        session: the configured node at work.
        silences: of each camera, why no images come; '' if they do, or if the node is not active.
    """
    node, active = session.node, session.worker is not None
    # all cameras go through one worker: the last of a round waits for the others
    now_s = time.monotonic()
    busy_ms = max(s.timing.summary(now_s).get(BUSY, 0.0) for s in session.streams)
    message = DiagnosticArray()
    for stream, silence in zip(session.streams, silences, strict=True):
        name = f'{node.get_fully_qualified_name()}: {stream.name}{" " if stream.name else ""}'
        message.status.append(_camera(f'{name}camera', stream, active, silence))
        message.status.append(_depth(f'{name}depth', stream, session, busy_ms))
    message.header.stamp = node.get_clock().now().to_msg()
    return message


def _camera(name: str, stream: Stream, active: bool, silence: str) -> DiagnosticStatus:
    trouble, known = '', ''
    values = {f'topic {i.relative}': i.topic for i in stream.inputs}
    values |= {f'reliability {i.relative}': i.qos.reliability.name.lower() for i in stream.inputs}
    if active:
        trouble = silence or stream.trouble
        lenses = stream.lenses
        known = ' and '.join(str(lens.camera) for lens in lenses) if lenses[0].camera else ''
        values['intrinsics'] = lenses[0].source
    said = trouble or known or ('waiting' if active else 'inactive')
    return _status(name, ERROR if trouble else OK, said, values)


def _depth(name: str, stream: Stream, session: Session, busy_ms: float) -> DiagnosticStatus:
    values: dict[str, Any] = dataclasses.asdict(session.choices)
    level, said = OK, 'active' if session.worker else 'inactive'
    if session.worker:
        seen = stream.timing.summary(time.monotonic())
        values |= seen | dataclasses.asdict(stream.counters)
        values |= session.two_views.views.report() if session.two_views else {}
        wanted, got = session.settings.rate, seen.get('rate [Hz]', 0.0)
        # a camera slower than `rate` is no overload; a network slower than its period is
        busy = busy_ms * wanted > 900
        if busy and got < 0.9 * wanted:
            level, said = WARN, f'overloaded: {got:.1f} Hz of {wanted:g}'
    return _status(name, level, said, values)


def _status(name: str, level: bytes, message: str, values: dict[str, Any]) -> DiagnosticStatus:
    """A DiagnosticStatus; floats are rounded for people."""
    shown = {k: f'{v:.2f}' if isinstance(v, float) else str(v) for k, v in values.items()}
    return DiagnosticStatus(
        name=name,
        level=level,
        message=message,
        hardware_id='depth_ros',
        values=[KeyValue(key=k, value=v) for k, v in shown.items()],
    )
