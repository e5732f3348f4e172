# SPDX-License-Identifier: Apache-2.0
"""Message stamps in nanoseconds, and the one rule for time that goes back."""

from __future__ import annotations

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
