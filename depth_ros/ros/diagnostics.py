# SPDX-License-Identifier: Apache-2.0
"""What the node is doing, for /diagnostics: for each camera two statuses, `camera` and `depth`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from depth_ros.pipeline.build import Choices
from depth_ros.ros.statistics import Summary

STALLED_S = 5.0  #: an image that takes longer, and three times as long as usual, is an error
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True, slots=True)
class CameraState:
    """What is known of one camera at one moment.

    Args:
        name: of the camera; '' for a single one.
        topics: relative name of an input -> (full name, reliability).
        camera: the camera model in words; '' before the first image.
        doubts: what is unlikely about it; '' for nothing.
        missing: what depth or clouds do without for now, and why; '' for nothing.
        intrinsics: where K comes from.
        trouble: why there is no depth; '' for nothing.
        busy_s: since when an image has been processed without a result [s]; 0 for none.
        counters: what became of its images.
        summary: rate and latencies; None without recent frames.
        scale: what was measured of the scale, by name.
    """

    name: str
    topics: dict[str, tuple[str, str]]
    camera: str
    doubts: str
    missing: str
    intrinsics: str
    trouble: str
    busy_s: float
    counters: dict[str, int]
    summary: Summary | None
    scale: dict[str, Any]


def report(
    node: str,
    stamp: Any,
    states: list[CameraState],
    choices: Choices,
    *,
    active: bool,
    wanted_rate_hz: float,
) -> DiagnosticArray:
    """All statuses.

    Args:
        node: full name of the node.
        stamp: builtin_interfaces/Time of now.
        states: of the cameras.
        choices: what was chosen at configure.
        active: whether the node is active.
        wanted_rate_hz: the parameter `rate`; 0 for every frame.
    """
    message = DiagnosticArray()
    message.header.stamp = stamp
    # all cameras share one worker: the last of a round waits for the others
    busy_s = max((s.summary.busy_p50_s for s in states if s.summary), default=0.0)
    for state in states:
        name = f'{node}: {state.name}{" " if state.name else ""}'
        message.status.append(_camera(f'{name}camera', state, active))
        depth = _depth(f'{name}depth', state, choices, active, wanted_rate_hz, busy_s)
        message.status.append(depth)
    return message


def _camera(name: str, state: CameraState, active: bool) -> DiagnosticStatus:
    values = {f'topic {relative}': topic for relative, (topic, _) in state.topics.items()}
    values |= {f'reliability {relative}': r for relative, (_, r) in state.topics.items()}
    if not active:
        return _status(name, OK, 'inactive', values)
    values['intrinsics'] = state.intrinsics
    if state.trouble:
        return _status(name, ERROR, state.trouble, values)
    if state.doubts:
        return _status(name, WARN, f'{state.camera}; {state.doubts}', values)
    return _status(name, OK, state.camera or 'waiting', values)


def _depth(
    name: str,
    state: CameraState,
    choices: Choices,
    active: bool,
    wanted_rate_hz: float,
    busy_s: float,
) -> DiagnosticStatus:
    values: dict[str, Any] = dataclasses.asdict(choices)
    del values['target']  # engine, device and precision have it in words
    if not choices.adapted:
        del values['adapted']
    if not active:
        return _status(name, OK, 'inactive', values)
    values |= _shown(state.summary) | state.counters | state.scale
    usual_s = state.summary.busy_p50_s if state.summary else choices.trial_s
    if state.busy_s > max(STALLED_S, 3 * usual_s):
        text = f'no output for {state.busy_s:.0f} s: the network has not finished an image'
        return _status(name, ERROR, text, values)
    rate_hz = state.summary.rate_hz if state.summary else 0.0
    # a camera slower than `rate` is no overload; a network slower than its period is
    if busy_s * wanted_rate_hz > 0.9 and rate_hz < 0.9 * wanted_rate_hz:
        return _status(name, WARN, f'overloaded: {rate_hz:.1f} Hz of {wanted_rate_hz:g}', values)
    if state.missing:
        return _status(name, WARN, state.missing, values)
    return _status(name, OK, 'active', values)


def _shown(summary: Summary | None) -> dict[str, float]:
    """Names and units for people."""
    if summary is None:
        return {}
    values = {'rate [Hz]': summary.rate_hz, 'processing p50 [ms]': 1e3 * summary.busy_p50_s}
    if np.isfinite(summary.latency_p50_s):
        values['latency p50 [ms]'] = 1e3 * summary.latency_p50_s
        values['latency p99 [ms]'] = 1e3 * summary.latency_p99_s
    return values


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
