# SPDX-License-Identifier: Apache-2.0
"""What became of a camera's images: counts, rates and latencies."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

#: the newest image is at most this old [s] when its processing starts, if the clocks agree
MAX_AGE_S = 10.0
MAX_AHEAD_S = 1.0  #: stamps of cameras with another clock may be a little ahead [s]


@dataclass(slots=True)
class Counters:
    """What became of the images since the node was activated; each is counted once."""

    received: int = 0
    dropped: int = 0  #: replaced by a newer one while the network was busy
    limited: int = 0  #: not processed because of `rate`
    unwatched: int = 0  #: not processed because no output has subscribers
    published: int = 0
    unscaled: int = 0  #: not published because the metric scale was not known
    failed: int = 0


class Timing:
    """Publication times, latencies and processing times of the latest frames.

    The worker's thread writes, the executor's reads.

    Args:
        size: frames that are kept.
    """

    def __init__(self, size: int = 120) -> None:
        self._lock = threading.Lock()
        self._frames: deque[tuple[float, float, float]] = deque(maxlen=size)

    def add(self, now_s: float, latency_s: float, busy_s: float) -> None:
        """Add a frame.

        Args:
            now_s: monotonic time of its publication [s].
            latency_s: since its stamp [s]; NaN if unknown.
            busy_s: processing time [s].
        """
        with self._lock:
            self._frames.append((now_s, latency_s, busy_s))

    def summary(self, now_s: float, window_s: float = 5.0) -> Summary | None:
        """Of the frames published in the last `window_s`; None for fewer than two.

        For a network that is slower the window is three times its processing time.
        """
        with self._lock:
            if self._frames:
                window_s = max(window_s, 3 * self._frames[-1][2])
            frames = [f for f in self._frames if now_s - f[0] <= window_s]
        if len(frames) < 2:
            return None
        t, latency, busy = np.array(frames).T
        known = bool(np.isfinite(latency).all())
        p50, p99 = np.percentile(latency, (50, 99)) if known else (np.nan, np.nan)
        return Summary(
            rate_hz=(len(frames) - 1) / max(t[-1] - t[0], 1e-9),
            busy_p50_s=float(np.median(busy)),
            latency_p50_s=float(p50),
            latency_p99_s=float(p99),
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """Rate [Hz], and medians and 99th percentiles of processing time and latency [s].

    Latencies are NaN where the node's clock is not known yet (`use_sim_time` without /clock), or
    is not that of the stamps.
    """

    rate_hz: float
    busy_p50_s: float
    latency_p50_s: float
    latency_p99_s: float


class Statistics:
    """Counters, timing and the present trouble of one camera; new at each activation."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.timing = Timing()
        self.trouble = ''  #: what is wrong with the images now; '' for nothing
        self.busy_since_s: float | None = None  #: monotonic time; None if no image is processed
        self.unwatched = False  #: whether images arrive while no output has subscribers
        self.clock_doubt = ''  #: why latencies mean nothing; '' if they do

    def add_published(self, now_s: float, latency_s: float, busy_s: float) -> str:
        """Count a published image; see `Timing.add`.

        Returns:
            Why its latency means nothing, if that is new; else ''.
        """
        self.counters.published += 1
        self.busy_since_s = None
        self.trouble = ''
        before, self.clock_doubt = self.clock_doubt, clock_doubt(latency_s - busy_s)
        self.timing.add(now_s, math.nan if self.clock_doubt else latency_s, busy_s)
        return '' if before else self.clock_doubt

    def in_words(self, now_s: float) -> str:
        """Rate, latency and counters in one line; `now_s` is monotonic."""
        summary, c = self.timing.summary(now_s), self.counters
        rate = '0 Hz'
        if summary is not None:
            rate = f'{summary.rate_hz:.1f} Hz, processing p50 {1e3 * summary.busy_p50_s:.1f} ms'
            if np.isfinite(summary.latency_p50_s):
                p50, p99 = 1e3 * summary.latency_p50_s, 1e3 * summary.latency_p99_s
                rate += f', latency p50 {p50:.1f} ms p99 {p99:.1f} ms'
        return (
            f'{rate}; {c.received} images: {c.published} published, {c.dropped} dropped, '
            f'{c.limited} limited, {c.unwatched} without subscribers, {c.unscaled} without scale, '
            f'{c.failed} failed'
        )


def clock_doubt(age_s: float) -> str:
    """Why the stamp of an image is of another clock than the node's; '' if it can be the same.

    Args:
        age_s: node's clock - stamp when the image was taken up [s]; NaN if unknown.
    """
    if not (age_s > MAX_AGE_S or age_s < -MAX_AHEAD_S):
        return ''
    amount = abs(age_s)
    for unit, size in (('days', 86400), ('h', 3600), ('min', 60)):
        if amount >= 2 * size:
            words = f'{amount / size:.0f} {unit}'
            break
    else:
        words = f'{amount:.0f} s'
    return (
        f"image stamps are {words} {'behind' if age_s > 0 else 'ahead of'} the node's clock, so "
        'latencies mean nothing: for a recording set use_sim_time:=true and play it with --clock, '
        'for a camera on another machine synchronise the clocks'
    )
