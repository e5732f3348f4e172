# SPDX-License-Identifier: Apache-2.0
"""A node that a thread of this process spins, while other threads use it."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

PATIENCE_S = 10.0  #: for the thread to destroy something


class SpunNode(Node):
    """A node with its own context, executor and thread.

    What it is to forget is destroyed by that thread: an executor of rclpy ends with an
    InvalidHandle if something vanishes while it prepares to wait. Nothing would arrive any more.

    Args:
        name: of the node. The environment must have the DDS domain already.
    """

    def __init__(self, name: str) -> None:
        context = rclpy.Context()
        rclpy.init(context=context)
        super().__init__(name, context=context)
        self._spinner = SingleThreadedExecutor(context=context)
        self._spinner.add_node(self)
        self._thread = threading.Thread(target=self._spin, name=name, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._spinner.spin()

    @property
    def spins(self) -> bool:
        """Whether the thread runs; if not, nothing arrives any more."""
        return self._thread.is_alive()

    def destroy_subscription(self, subscription: Any) -> bool:
        """As in `Node`, from any thread."""
        return bool(self._in_thread(super().destroy_subscription, subscription))

    def destroy_publisher(self, publisher: Any) -> bool:
        """As in `Node`, from any thread."""
        return bool(self._in_thread(super().destroy_publisher, publisher))

    def destroy_client(self, client: Any) -> bool:
        """As in `Node`, from any thread."""
        return bool(self._in_thread(super().destroy_client, client))

    def _in_thread(self, action: Callable[[Any], Any], entity: Any) -> Any:
        if not self.spins or threading.current_thread() is self._thread:
            return action(entity)
        done = threading.Event()
        task = self._spinner.create_task(action, entity)
        task.add_done_callback(lambda _: done.set())
        if not done.wait(PATIENCE_S):
            raise TimeoutError(f'the thread of {self.get_name()} is busy')
        return task.result()

    def close(self) -> None:
        """Leave the graph."""
        self._spinner.shutdown()
        self._thread.join(5)
        self.context.try_shutdown()  # destroys the node
        gc.collect()
        self.context.destroy()
