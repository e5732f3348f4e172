# SPDX-License-Identifier: Apache-2.0
"""Message stamps in nanoseconds, and the one rule for time that goes back."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

#: a stamp older than the newest one by this much starts another run of a bag or simulation [ns]
JUMP_NS = 1_000_000_000


def nanoseconds(stamp: Any) -> int:
    """builtin_interfaces/Time -> ns."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def went_back(stamp_ns: int, newest_ns: int) -> bool:
    """Whether time started again: what was known of the time before is of another run.

    A smaller step is a message that others overtook. It is late, and nothing else changes.
    """
    return newest_ns - stamp_ns >= JUMP_NS


def from_decimal(text: str) -> int:
    """Nanoseconds of seconds in decimal digits, such as 1305031102.1753, which no float holds."""
    seconds, _, fraction = text.partition('.')
    return int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, '0'))


def nearest(stamps_ns: Sequence[int], stamp_ns: int) -> int:
    """The stamp closest to another; the earlier of two.

    Args:
        stamps_ns: sorted, at least one.
        stamp_ns: the other.
    """
    after = bisect.bisect_left(stamps_ns, stamp_ns)
    return min(stamps_ns[max(0, after - 1) : after + 1], key=lambda ns: abs(ns - stamp_ns))
