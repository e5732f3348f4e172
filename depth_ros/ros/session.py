# SPDX-License-Identifier: Apache-2.0
"""What lives from configure to cleanup: pipeline, publishers; while active inputs and worker."""

from __future__ import annotations

import time

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depth_ros import geometry, pack, resample
from depth_ros.build import Choices
from depth_ros.pipeline import Pipeline
from depth_ros.ros import diagnostics, middleware
from depth_ros.ros.inbox import Counters, Inbox
from depth_ros.ros.inputs import Input
from depth_ros.ros.log import Throttle
from depth_ros.ros.outputs import Outputs
from depth_ros.ros.worker import Worker
from depth_ros.settings import Settings

TICK_S = 0.2  #: how often the inputs look at their publishers
REPORT_S = 1.0  #: period of /diagnostics


class Session:
    """One configured node at work.

    Args:
        node: owner of publishers, subscriptions and timers.
        pipeline: the loaded network.
        choices: what it was made of, for the diagnostics.
        settings: parameters; `update` replaces them.
    """

    def __init__(
        self, node: LifecycleNode, pipeline: Pipeline, choices: Choices, settings: Settings
    ) -> None:
        """Create the publishers; `start` does the rest."""
        self.node = node
        self.pipeline = pipeline
        self.choices = choices
        self.settings = settings
        self.outputs = Outputs(node, settings)
        self.inbox: Inbox | None = None
        self.inputs: list[Input] = []
        self.worker: Worker | None = None
        self._throttle = Throttle()
        self._reported_s = self._started_s = time.monotonic()
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
        if self.worker is not None:
            self.worker.settings = settings

    def start(self) -> None:
        """Subscribe and start the worker."""
        node, settings = self.node, self.settings
        self._started_s = time.monotonic()
        self.inbox = Inbox(Counters())
        compressed = settings.image_transport == 'compressed'
        kind, topic = (CompressedImage, 'image/compressed') if compressed else (Image, 'image')
        image = Input(node, kind, topic, self.inbox.put_image, 1, settings.image_reliability)
        self.inputs.append(image)
        self.inputs.append(Input(node, CameraInfo, 'camera_info', self.inbox.put_info, 10))
        self.worker = Worker(node, self.inbox, self.pipeline, self.outputs, settings, image.topic)
        node.get_logger().info(f'listening to {" and ".join(i.topic for i in self.inputs)}')

    def stop(self) -> None:
        """Unsubscribe and wait until the worker has finished its frame."""
        if self.inbox is not None:
            self.inbox.close()
        if self.worker is not None:
            self.worker.join()
        for source in self.inputs:
            source.close()
        self.inbox, self.worker, self.inputs = None, None, []

    def close(self) -> None:
        """Stop and free everything."""
        self.stop()
        self.node.destroy_timer(self._timer)
        self.node.destroy_publisher(self._diagnostics)
        self.outputs.close()
        del self.pipeline
        for room in (geometry, pack, resample):
            room.forget()
        middleware.release_memory()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _tick(self) -> None:
        now_s = time.monotonic()
        for source in self.inputs:
            source.refresh()
        silence = self._silence(now_s)
        if silence and self._throttle.due(silence):
            self.node.get_logger().warning(silence)
        if now_s - self._reported_s >= REPORT_S:
            self._reported_s = now_s
            self._diagnostics.publish(diagnostics.report(self, silence))

    def _silence(self, now_s: float) -> str:
        """Why there is no depth although the node is active; '' if there is nothing to say."""
        if self.inbox is None:
            return ''
        image, info = self.inputs
        reasons = []
        for source, last_s in ((image, self.inbox.last_image_s), (info, self.inbox.last_info_s)):
            quiet_s = now_s - (last_s or self._started_s)
            # camera_info may be published once for ever
            if quiet_s > self.settings.patience and not (source is info and last_s):
                reasons.append(f'no {source.relative} for {quiet_s:.0f} s: {source.why_silent()}')
        return '; '.join(reasons)
