# SPDX-License-Identifier: Apache-2.0
"""QoS events of the publishers, which the executor looks at rarely."""

from __future__ import annotations

import time
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup

PERIOD_S = 1.0  #: from one look to the next
LOOK_S = 0.05  #: duration of a look


class Rarely(ReentrantCallbackGroup):
    """Callbacks that may be late by about `PERIOD_S`.

    rclpy gives each publisher two events, which log subscribers with another QoS or type. When
    the executor waits, about twice for each message, it registers all of them again: they were
    more than a third of what it waited for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._look_s = -PERIOD_S

    def can_execute(self, entity: Any) -> bool:  # type: ignore[override]
        """Whether the executor is to wait for this now; an event that has happened stays."""
        now_s = time.monotonic()
        if now_s - self._look_s > PERIOD_S:
            self._look_s = now_s
        return now_s - self._look_s < LOOK_S
