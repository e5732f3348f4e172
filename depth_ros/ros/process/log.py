# SPDX-License-Identifier: Apache-2.0
"""The core's log goes to the ROS log, and lasting troubles are not said at every frame."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

REPEAT_S = 5.0  #: a lasting trouble is logged this often


class _Forward(logging.Handler):
    def __init__(self, logger: Any) -> None:
        super().__init__()
        self.logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        # four lines, not one: rclpy refuses another severity from the same line of code
        if record.levelno >= logging.ERROR:
            self.logger.error(text)
        elif record.levelno >= logging.WARNING:
            self.logger.warning(text)
        elif record.levelno >= logging.INFO:
            self.logger.info(text)
        else:
            self.logger.debug(text)


def forward_to_ros(logger: Any) -> None:
    """Send everything that `depth_ros.*` logs to a node's logger."""
    core = logging.getLogger('depth_ros')
    core.handlers = [_Forward(logger)]
    core.setLevel(logging.DEBUG)
    core.propagate = False


class Throttle:
    """Lets a text through when it is new, and every `REPEAT_S` while it goes on.

    Texts that differ in numbers only are the same: seconds count up, broken images vary in length.
    """

    def __init__(self) -> None:
        """Nothing said yet."""
        self._said: dict[str, float] = {}

    def due(self, text: str, of: str = '') -> bool:
        """Whether to say `text` now; `of` is whose trouble it is."""
        kind, now_s = f'{of}: {re.sub(r"[0-9]+", "#", text)}', time.monotonic()
        due = now_s - self._said.get(kind, -REPEAT_S) >= REPEAT_S
        if due:
            self._said[kind] = now_s
        return due
