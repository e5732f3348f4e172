# SPDX-License-Identifier: Apache-2.0
"""What lives from configure to cleanup: pipeline and cameras; while active, inputs and worker."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.lifecycle import LifecycleNode

from depth_ros.core import encode, geometry, lens, resample
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.abilities import check_sources
from depth_ros.pipeline.build import Choices
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.filters import free_space, motion
from depth_ros.pipeline.wide import clear_cache as clear_tiles
from depth_ros.ros import diagnostics
from depth_ros.ros.inputs.newest import LatestImages
from depth_ros.ros.inputs.second_view import second_view_for
from depth_ros.ros.process.log import Throttle
from depth_ros.ros.process.malloc import release_memory
from depth_ros.ros.stream import Stream
from depth_ros.ros.worker import Worker

TICK_S = 0.2  #: how often the inputs look at their publishers
REPORT_S = 1.0  #: period of /diagnostics
PATIENCE_S = 3.0  #: how long deactivation waits for the network; `ros2 launch` kills after 10 s


class Session:
    """One configured node.

    Args:
        node: owner of publishers, subscriptions and timers.
        pipeline: the loaded network.
        choices: what was chosen at configure, for the diagnostics.
        on_gpu_lost: called with the reason when no further work on the GPU is possible.

    Raises:
        ConfigError: the second view or a source of anchors is not possible here.
    """

    def __init__(
        self,
        node: LifecycleNode,
        pipeline: Pipeline,
        choices: Choices,
        on_gpu_lost: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.node = node
        self.pipeline = pipeline
        self.choices = choices
        self._on_gpu_lost = on_gpu_lost
        self.worker: Worker | None = None
        self._leaving: Worker | None = None  # still at a frame of the activation before
        self.streams: list[Stream] = []
        self._throttle = Throttle()
        self._reported_s = self._rates_logged_s = time.monotonic()
        self._unwatched: set[str] = set()  # cameras of which that is logged
        settings = self.settings
        check_sources(settings)
        with contextlib.ExitStack() as made:  # a part that fails takes back those before it
            self.second_view = second_view_for(node, pipeline, settings)
            if self.second_view is not None:
                made.callback(self.second_view.close)
            for name in settings.cameras:
                self.streams.append(Stream(node, pipeline, settings, name, self.second_view))
                made.callback(self.streams[-1].close)
            self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', 1)
            made.callback(node.destroy_publisher, self._diagnostics)
            # steady: with use_sim_time and no /clock the node must still be able to report
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            timer = node.create_timer(TICK_S, self._tick, clock=steady)
            made.callback(node.destroy_timer, timer)
            self._made = made.pop_all()

    @property
    def settings(self) -> Settings:
        """The parameters in force."""
        return self.pipeline.snapshot.settings

    def update(self, settings: Settings) -> None:
        """Use new live parameters from the next frame on.

        Raises:
            ConfigError: they do not fit the network, or need what is not installed; the old ones
                stay.
        """
        check_sources(settings)
        for stream in self.streams:
            stream.floor.listen(settings)
        self.pipeline.update(settings)

    def start(self) -> None:
        """Subscribe and start the worker; if that fails, nothing stays subscribed."""
        with contextlib.ExitStack() as started:
            started.callback(self.stop)
            images = LatestImages([stream.start(self.settings) for stream in self.streams])
            self.worker = Worker(
                self.node,
                self.streams,
                images,
                self.pipeline,
                self.second_view,
                self._leaving,
                self._on_gpu_lost,
            )
            started.pop_all()
        inputs = [i for s in self.streams for i in s.all_inputs]
        topics = dict.fromkeys(source.topic for source in inputs)  # cameras share sensors
        self.node.get_logger().info(f'listening to {" and ".join(topics)}')

    def stop(self) -> None:
        """Unsubscribe, and wait for the worker's present frame, but not longer than `PATIENCE_S`.

        A network that takes longer finishes its frame in the background; it is not published.
        """
        worker, self.worker = self.worker, None
        if worker is not None and not worker.stop(PATIENCE_S):
            self._leaving = worker
            self.node.get_logger().warning(
                f'the network has not finished its image within {PATIENCE_S:g} s; '
                'its result will be dropped'
            )
        for stream in self.streams:
            stream.stop()

    def close(self) -> None:
        """Stop and free everything."""
        self.stop()
        self._made.close()
        del self.pipeline, self.second_view, self.streams
        for module in (geometry, lens, encode, resample, free_space, motion):
            module.clear_cache()
        clear_tiles()
        release_memory()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _tick(self) -> None:
        now_s = time.monotonic()
        for stream in self.streams:
            for source in stream.all_inputs:
                source.refresh()
        patience_s = self.settings.patience
        silences = [stream.silence(now_s, patience_s) for stream in self.streams]
        for stream, silence in zip(self.streams, silences, strict=True):
            if silence and self._throttle.due(silence, stream.name):
                self.node.get_logger().warning(stream.label + silence)
        missing = [stream.missing(now_s, patience_s) for stream in self.streams]
        for stream, reason in zip(self.streams, missing, strict=True):
            if reason and self._throttle.due(reason, stream.name):
                self.node.get_logger().warning(stream.label + reason)
        self._log_unwatched()
        self._log_rates(now_s)
        if now_s - self._reported_s >= REPORT_S:
            self._reported_s = now_s
            self._diagnostics.publish(self._report(silences, missing, now_s))

    def _log_unwatched(self) -> None:
        """Say once that nothing is computed, and again after there were subscribers."""
        for stream in self.streams:
            unwatched = stream.statistics.unwatched and self.worker is not None
            if unwatched and stream.name not in self._unwatched:
                topic = self.node.resolve_topic_name(f'{stream.prefix}points')
                self.node.get_logger().info(
                    f'{stream.label}images arrive, but no output has subscribers: nothing is '
                    f'computed. Subscribe to one, for example: ros2 topic hz {topic}'
                )
            self._unwatched = (self._unwatched - {stream.name}) | (
                {stream.name} if unwatched else set()
            )

    def _log_rates(self, now_s: float) -> None:
        """Log rate and latency of each camera every `log_period` seconds."""
        period_s = self.settings.log_period
        if not period_s or self.worker is None or now_s - self._rates_logged_s < period_s:
            return
        self._rates_logged_s = now_s
        for stream in self.streams:
            self.node.get_logger().info(f'{stream.label}{stream.statistics.in_words(now_s)}')

    def _report(self, silences: list[str], missing: list[str], now_s: float) -> DiagnosticArray:
        second_view = self.second_view.views.report() if self.second_view else {}
        states = [
            stream.state(silence, reason, now_s, second_view)
            for stream, silence, reason in zip(self.streams, silences, missing, strict=True)
        ]
        return diagnostics.report(
            self.node.get_fully_qualified_name(),
            self.node.get_clock().now().to_msg(),
            states,
            self.choices,
            active=self.worker is not None,
            wanted_rate_hz=self.settings.rate,
        )
