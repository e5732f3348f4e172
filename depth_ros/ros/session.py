# SPDX-License-Identifier: Apache-2.0
"""What lives from configure to cleanup: pipeline, cameras; while active inputs and worker."""

from __future__ import annotations

import time

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from depth_ros.core import encode, geometry, resample
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.build import Choices
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.ros import diagnostics
from depth_ros.ros.inputs.newest import LatestImages
from depth_ros.ros.inputs.second_view import two_views_for
from depth_ros.ros.process.log import Throttle
from depth_ros.ros.process.malloc import release_memory
from depth_ros.ros.stream import Stream
from depth_ros.ros.worker import Worker

TICK_S = 0.2  #: how often the inputs look at their publishers
REPORT_S = 1.0  #: period of /diagnostics


class Session:
    """One configured node at work.

    Args:
        node: owner of publishers, subscriptions and timers.
        pipeline: the loaded network.
        choices: what it was made of, for the diagnostics.
        settings: parameters; `update` replaces them.

    Raises:
        ConfigError: two views were asked for that cannot be had here.
    """

    def __init__(
        self, node: LifecycleNode, pipeline: Pipeline, choices: Choices, settings: Settings
    ) -> None:
        """Create the publishers; `start` does the rest."""
        self.node = node
        self.pipeline = pipeline
        self.choices = choices
        self.settings = settings
        # first, because it may be refused
        self.two_views = two_views_for(node, pipeline, settings)
        self.streams = [
            Stream(node, pipeline, settings, name, self.two_views) for name in settings.cameras
        ]
        self.worker: Worker | None = None
        self._throttle = Throttle()
        self._reported_s = time.monotonic()
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', 1)
        # steady: with use_sim_time and no /clock the node must still be able to say so
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(TICK_S, self._tick, clock=steady)

    def update(self, settings: Settings) -> None:
        """Take new live parameters.

        Raises:
            ConfigError: they do not fit the network; the old ones stay.
        """
        self.pipeline.update(settings)
        self.settings = settings
        for stream in self.streams:
            stream.settings = settings

    def start(self) -> None:
        """Subscribe and start the worker."""
        inboxes = LatestImages([stream.start() for stream in self.streams])
        self.worker = Worker(self.node, self.streams, inboxes, self.pipeline, self.two_views)
        topics = [source.topic for stream in self.streams for source in stream.inputs]
        self.node.get_logger().info(f'listening to {" and ".join(topics)}')

    def stop(self) -> None:
        """Unsubscribe and wait until the worker has finished its frames."""
        if self.worker is not None:
            self.worker.inboxes.close()
            self.worker.join()
        for stream in self.streams:
            stream.stop()
        self.worker = None

    def close(self) -> None:
        """Stop and free everything."""
        self.stop()
        self.node.destroy_timer(self._timer)
        self.node.destroy_publisher(self._diagnostics)
        for stream in self.streams:
            stream.close()
        if self.two_views is not None:
            self.two_views.close()
        del self.pipeline, self.two_views, self.streams
        for room in (geometry, encode, resample):
            room.clear_cache()
        release_memory()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _tick(self) -> None:
        now_s = time.monotonic()
        for stream in self.streams:
            for source in stream.inputs:
                source.refresh()
        silences = [stream.silence(now_s) for stream in self.streams]
        for stream, silence in zip(self.streams, silences, strict=True):
            if silence and self._throttle.due(silence, stream.name):
                self.node.get_logger().warning(silence)
        if now_s - self._reported_s >= REPORT_S:
            self._reported_s = now_s
            self._diagnostics.publish(diagnostics.report(self, silences))
