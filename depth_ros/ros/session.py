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
from depth_ros.estimate import SteadyCamera
from depth_ros.pipeline import Pipeline
from depth_ros.ros import diagnostics, middleware
from depth_ros.ros.inbox import Counters, Inbox
from depth_ros.ros.inputs import Input
from depth_ros.ros.lens import Lens
from depth_ros.ros.log import Throttle
from depth_ros.ros.outputs import Outputs
from depth_ros.ros.pairs import PairInbox
from depth_ros.ros.two_views import PoseOutputs, two_views_for
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
        self.outputs = (PoseOutputs if self.two_views else Outputs)(node, settings)
        self.inbox: Inbox | PairInbox | None = None
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
        estimate = None
        if settings.intrinsics == 'estimated':
            estimate = SteadyCamera(self.pipeline.model.estimated_camera)
        views = self.two_views
        inbox = views.inbox(Counters()) if views else Inbox(Counters(), needs_info=not estimate)
        compressed = settings.image_transport == 'compressed'
        kind, topic = (CompressedImage, 'image/compressed') if compressed else (Image, 'image')
        inputs = [Input(node, kind, topic, inbox.put_image, 1, settings.image_reliability)]
        if not estimate:
            inputs.append(Input(node, CameraInfo, 'camera_info', inbox.put_info, 10, once=True))
        inputs += views.inputs(node, settings) if views else []
        lenses = [
            Lens(node.get_logger(), source.topic, settings.rectification, estimate)
            for source in inputs
            if source.message_type is kind
        ]
        self.inbox, self.inputs = inbox, inputs
        depth_of = views or self.pipeline
        self.worker = Worker(
            node, inbox, depth_of, self.pipeline.device, self.outputs, settings, lenses
        )
        node.get_logger().info(f'listening to {" and ".join(i.topic for i in inputs)}')

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
        if self.two_views is not None:
            self.two_views.close()
        del self.pipeline, self.two_views
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
        reasons = []
        for source in self.inputs:
            quiet_s = source.quiet_s(now_s, self._started_s)
            if quiet_s > self.settings.patience:
                reasons.append(f'no {source.relative} for {quiet_s:.0f} s: {source.why_silent()}')
        if not reasons and self.two_views is not None:
            return self.two_views.why_silent()
        return '; '.join(reasons)
