# SPDX-License-Identifier: Apache-2.0
"""`rclpy.init` and its reverse, for a process that starts and ends in order.

On SIGINT and SIGTERM rclpy's signal handler shuts the context down, which ends `spin`. It also
calls the handler that was there before. Python's own would raise KeyboardInterrupt later, between
any two lines, also those that clean up.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

import rclpy
from rclpy.node import Node

_received = False
_raises = False


def init(args: list[str] | None = None) -> bool:
    """`rclpy.init`; from here on signals raise KeyboardInterrupt only within `interruptible`.

    Returns:
        False if SIGINT or SIGTERM came before rclpy had its handler: the program is to end.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _on_signal)
    rclpy.init(args=args)
    return not _received


def shutdown(node: Node | None = None) -> None:
    """`rclpy.try_shutdown`, and leave the ROS graph at once.

    Otherwise the DDS participant stays until the interpreter ends. If the process ends in another
    way, others see its topics for 20 s more, and call its services in vain.

    Args:
        node: of the program, to be destroyed first. A lifecycle node holds the context until
            nothing refers to it: destroy it before, and drop it.
    """
    if node is not None:
        node.destroy_node()
    context = rclpy.get_default_context()
    rclpy.try_shutdown()
    gc.collect()  # a lifecycle node's state machine, which holds the context
    context.destroy()


def end(exit_code: int) -> NoReturn:
    """End the process without the interpreter's own end, and without waiting for any thread.

    The interpreter would free each object of torch and others one by one: 1 to 3 s, and 5 to 15 s
    on a busy machine, where `ros2 launch` kills what has not ended 10 s after Ctrl-C.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)  # rclpy's log, if it goes to a stream with a buffer
    os._exit(exit_code)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt here, once: for work of seconds or more."""
    global _raises
    _raises = True
    try:
        yield
    finally:
        _raises = False


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _received, _raises
    _received = True
    if _raises:
        _raises = False  # what follows cleans up
        raise KeyboardInterrupt
