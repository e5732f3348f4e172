# SPDX-License-Identifier: Apache-2.0
"""The core's log goes to the ROS log; a lasting problem is not logged at every frame."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

REPEAT_S = 5.0  #: period at which a lasting problem is logged


class _Forward(logging.Handler):
    def __init__(self, logger: Any) -> None:
        super().__init__()
        self.logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        # one call for each severity: rclpy refuses two severities from one line of code
        if record.levelno >= logging.ERROR:
            self.logger.error(text)
        elif record.levelno >= logging.WARNING:
            self.logger.warning(text)
        elif record.levelno >= logging.INFO:
            self.logger.info(text)
        else:
            self.logger.debug(text)


def forward_to_ros(logger: Any) -> None:
    """Send what `depth_ros.*` logs to a node's logger."""
    core = logging.getLogger('depth_ros')
    core.handlers = [_Forward(logger)]
    core.setLevel(logging.DEBUG)
    core.propagate = False


class Throttle:
    """Admits a message when it is new, and every `REPEAT_S` while it persists.

    Messages that differ in numbers only are of one kind: seconds count up, bad images vary in
    length. A message that is not admitted is to be offered again as long as it is true.

    Args:
        burst: how many different messages of a kind are admitted within `REPEAT_S`.
    """

    def __init__(self, burst: int = 1) -> None:
        self._burst = burst
        self._admitted: dict[str, list[tuple[float, str]]] = {}  # of each kind, the last ones

    def due(self, text: str, of: str = '') -> bool:
        """Whether to log `text` now; `of` names the camera it is about."""
        kind, now_s = f'{of}: {re.sub(r"[0-9]+", "#", text)}', time.monotonic()
        recent = [(s, t) for s, t in self._admitted.get(kind, ()) if now_s - s < REPEAT_S]
        if len(recent) >= self._burst or any(t == text for _, t in recent):
            return False
        self._admitted[kind] = [*recent, (now_s, text)]
        return True
