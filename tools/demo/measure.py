# SPDX-License-Identifier: Apache-2.0
"""What the demo measures: arrivals against camera stamps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
