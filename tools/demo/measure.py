# SPDX-License-Identifier: Apache-2.0
"""Measurement of loss, rate and latency: arrivals compared with camera stamps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class ArrivalLog:
    """Arrival times of the messages of one topic; all times are of the system clock [ns]."""

    arrivals: dict[int, int] = field(default_factory=dict)  #: header stamp -> arrival

    def add(self, stamp_ns: int, now_ns: int) -> None:
        """Add a message with stamp `stamp_ns` that arrived at `now_ns`."""
        self.arrivals.setdefault(stamp_ns, now_ns)

    def timeline(self, sent: list[int]) -> NDArray[np.float64]:
        """(2, N): time since the first of the camera stamps `sent` [s], and latency [ms]."""
        received = [(s, self.arrivals[s]) for s in sent if s in self.arrivals]
        return (
            np.array([[(s - sent[0]) / 1e9, (a - s) / 1e6] for s, a in received]).reshape(-1, 2).T
        )

    def report(self, sent: list[int]) -> dict[str, Any]:
        """Number, loss, rate [Hz] and latency [ms] for the camera stamps `sent`.

        Latency is from the header stamp of the image, set by the camera just before it publishes,
        to the start of the callback of this subscriber.
        """
        received = {stamp: self.arrivals[stamp] for stamp in sent if stamp in self.arrivals}
        report: dict[str, Any] = {
            'received': len(received),
            'lost': len(sent) - len(received),
            'rate_hz': None,
            'latency_p50_ms': None,
            'latency_p95_ms': None,
            'latency_p99_ms': None,
        }
        if received:
            latency = [(arrival - stamp) / 1e6 for stamp, arrival in received.items()]
            for p in (50, 95, 99):
                report[f'latency_p{p}_ms'] = round(float(np.percentile(latency, p)), 2)
        if len(received) > 1:
            span = (max(received.values()) - min(received.values())) / 1e9
            report['rate_hz'] = round((len(received) - 1) / span, 2) if span > 0 else None
        return report
