# SPDX-License-Identifier: Apache-2.0
"""The core logs with `logging`; this sends it to the ROS log."""

from __future__ import annotations

import logging
from typing import Any


class _Forward(logging.Handler):
    def __init__(self, logger: Any) -> None:
        super().__init__()
        self.logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
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
