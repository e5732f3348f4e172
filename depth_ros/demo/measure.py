# SPDX-License-Identifier: Apache-2.0
"""What the demo measures: arrivals against camera stamps, and depth against the exact depth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depth_ros.camera import Camera

Depth = NDArray[np.float32]


@dataclass(slots=True)
class Ledger:
    """When each message of one topic arrived; both clocks are the system's [ns]."""

    arrivals: dict[int, int] = field(default_factory=dict)  #: header stamp: arrival

    def note(self, stamp_ns: int, now_ns: int) -> None:
        """One message of `stamp_ns` is here."""
        self.arrivals.setdefault(stamp_ns, now_ns)

    def timeline(self, sent: list[int]) -> NDArray[np.float64]:
        """(2, N): seconds since the first of the camera stamps `sent`, and latency [ms]."""
        here = [(s, self.arrivals[s]) for s in sent if s in self.arrivals]
        return np.array([[(s - sent[0]) / 1e9, (a - s) / 1e6] for s, a in here]).reshape(-1, 2).T

    def report(self, sent: list[int]) -> dict[str, Any]:
        """Count, loss, rate [Hz] and latency [ms] over the camera stamps `sent`.

        Latency runs from the image's header stamp, set by the camera just before it publishes, to
        the start of this subscriber's callback.
        """
        here = {stamp: self.arrivals[stamp] for stamp in sent if stamp in self.arrivals}
        report: dict[str, Any] = {
            'received': len(here),
            'lost': len(sent) - len(here),
            'rate_hz': None,
            'latency_p50_ms': None,
            'latency_p95_ms': None,
            'latency_p99_ms': None,
        }
        if here:
            latency = [(arrival - stamp) / 1e6 for stamp, arrival in here.items()]
            for p in (50, 95, 99):
                report[f'latency_p{p}_ms'] = round(float(np.percentile(latency, p)), 2)
        if len(here) > 1:
            span = (max(here.values()) - min(here.values())) / 1e9
            report['rate_hz'] = round((len(here) - 1) / span, 2) if span > 0 else None
        return report


def floor(truth: Depth, camera: Camera, height: float) -> NDArray[np.bool_]:
    """Pixels of `truth` (H, W) [m] that lie on the plane y = `height` [m], (H, W)."""
    v = (np.arange(camera.height, dtype=np.float32) - camera.cy) / camera.fy
    with np.errstate(invalid='ignore'):  # Inf * 0 on the horizon
        return np.isfinite(truth) & (np.abs(truth * v[:, None] - height) < 1e-3 * height)


def errors(depth: Depth, truth: Depth, where: NDArray[np.bool_] | None = None) -> dict[str, float]:
    """AbsRel, delta1 and RMSE [m] of `depth` (H, W) where it and `truth` (H, W) are finite.

    `valid` is the share of the pixels with a true depth (in `where`) that have a depth at all.
    """
    known = np.isfinite(truth) if where is None else where & np.isfinite(truth)
    both = known & np.isfinite(depth) & (depth > 0)
    if not both.any():
        return {'valid': 0.0}
    d, t = depth[both].astype(np.float64), truth[both].astype(np.float64)
    return {
        'abs_rel': float(np.mean(np.abs(d - t) / t)),
        'delta1': float(np.mean(np.maximum(d / t, t / d) < 1.25)),
        'rmse_m': float(np.sqrt(np.mean((d - t) ** 2))),
        'valid': float(both.sum() / known.sum()),
    }


def mean_errors(frames: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each number over the frames that have it."""
    names = dict.fromkeys(name for frame in frames for name in frame)
    return {n: round(float(np.mean([f[n] for f in frames if n in f])), 6) for n in names}
