# SPDX-License-Identifier: Apache-2.0
"""Message stamps, and a rate kept by them."""

from __future__ import annotations

import time
from typing import Any


def nanoseconds(stamp: Any) -> int:
    """builtin_interfaces/Time -> ns."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


class RateLimit:
    """At most `rate` admissions a second of message time; 0 admits all."""

    def __init__(self) -> None:
        """Admit the first."""
        self._due_ns = self._last_ns = 0
        self._admitted_s = 0.0

    def admits(self, stamp_ns: int, rate: float) -> bool:
        """Whether the message of this stamp is due.

        Time jumping back starts anew. Stamps that stand still, as broken drivers send them, are
        replaced by the time of arrival.
        """
        if rate <= 0:
            return True
        last_ns, self._last_ns = self._last_ns, stamp_ns
        if stamp_ns == last_ns:
            due = time.monotonic() - self._admitted_s >= 0.75 / rate
        else:
            due = self._on_grid(stamp_ns, stamp_ns < last_ns, round(1e9 / rate))
        if due:
            self._admitted_s = time.monotonic()
        return due

    def _on_grid(self, stamp_ns: int, jumped: bool, period_ns: int) -> bool:
        # a quarter of a period early is on time: stamps jitter, and simulators round them
        if not jumped and stamp_ns < self._due_ns - period_ns // 4:
            return False
        # a fixed grid keeps the mean rate exact; after a pause it starts at this message
        paused = stamp_ns >= self._due_ns + period_ns
        self._due_ns = (stamp_ns if jumped or paused else self._due_ns) + period_ns
        return True
