# SPDX-License-Identifier: Apache-2.0
"""What lives from configure to cleanup: pipeline and cameras; while active, inputs and worker."""

from __future__ import annotations

import time

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.lifecycle import LifecycleNode

from depth_ros.core import encode, geometry, resample
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.build import Choices
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.ros import diagnostics
from depth_ros.ros.inputs.newest import LatestImages
from depth_ros.ros.inputs.second_view import second_view_for
from depth_ros.ros.process.log import Throttle
from depth_ros.ros.process.malloc import release_memory
from depth_ros.ros.stream import Stream
from depth_ros.ros.worker import Worker

TICK_S = 0.2  #: how often the inputs look at their publishers
REPORT_S = 1.0  #: period of /diagnostics


class Session:
    """One configured node.

    Args:
        node: owner of publishers, subscriptions and timers.
        pipeline: the loaded network.
        choices: what was chosen at configure, for the diagnostics.

    Raises:
        ConfigError: the second view that was asked for is not possible here.
    """

    def __init__(self, node: LifecycleNode, pipeline: Pipeline, choices: Choices) -> None:
        self.node = node
        self.pipeline = pipeline
        self.choices = choices
        settings = self.settings
        # first, because it may be refused
        self.second_view = second_view_for(node, pipeline, settings)
        self.streams = [
            Stream(node, pipeline, settings, name, self.second_view) for name in settings.cameras
        ]
        self.worker: Worker | None = None
        self._images: LatestImages | None = None
        self._throttle = Throttle()
        self._reported_s = time.monotonic()
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', 1)
        # steady: with use_sim_time and no /clock the node must still be able to report
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(TICK_S, self._tick, clock=steady)

    @property
    def settings(self) -> Settings:
        """The parameters in force."""
        return self.pipeline.snapshot.settings

    def update(self, settings: Settings) -> None:
        """Use new live parameters from the next frame on.

        Raises:
            ConfigError: they do not fit the network; the old ones stay.
        """
        self.pipeline.update(settings)

    def start(self) -> None:
        """Subscribe and start the worker."""
        images = LatestImages([stream.start(self.settings) for stream in self.streams])
        self._images = images
        self.worker = Worker(self.node, self.streams, images, self.pipeline, self.second_view)
        topics = [source.topic for stream in self.streams for source in stream.inputs]
        self.node.get_logger().info(f'listening to {" and ".join(topics)}')

    def stop(self) -> None:
        """Unsubscribe and wait until the worker has finished its frames."""
        if self._images is not None:
            self._images.close()
        if self.worker is not None:
            self.worker.join()
        for stream in self.streams:
            stream.stop()
        self.worker = self._images = None

    def close(self) -> None:
        """Stop and free everything."""
        self.stop()
        self.node.destroy_timer(self._timer)
        self.node.destroy_publisher(self._diagnostics)
        for stream in self.streams:
            stream.close()
        if self.second_view is not None:
            self.second_view.close()
        del self.pipeline, self.second_view, self.streams
        for module in (geometry, encode, resample):
            module.clear_cache()
        release_memory()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _tick(self) -> None:
        now_s = time.monotonic()
        for stream in self.streams:
            for source in stream.inputs:
                source.refresh()
        patience_s = self.settings.patience
        silences = [stream.silence(now_s, patience_s) for stream in self.streams]
        for stream, silence in zip(self.streams, silences, strict=True):
            if silence and self._throttle.due(silence, stream.name):
                self.node.get_logger().warning(silence)
        if now_s - self._reported_s >= REPORT_S:
            self._reported_s = now_s
            self._diagnostics.publish(self._report(silences, now_s))

    def _report(self, silences: list[str], now_s: float) -> DiagnosticArray:
        second_view = self.second_view.views.report() if self.second_view else {}
        states = [
            stream.state(silence, now_s, second_view)
            for stream, silence in zip(self.streams, silences, strict=True)
        ]
        return diagnostics.report(
            self.node.get_fully_qualified_name(),
            self.node.get_clock().now().to_msg(),
            states,
            self.choices,
            active=self.worker is not None,
            wanted_rate_hz=self.settings.rate,
        )
