# SPDX-License-Identifier: Apache-2.0
"""One camera of the node: where its images come from and where its depth goes."""

from __future__ import annotations

import time
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depth_ros.core.types import DepthMap, Frame
from depth_ros.models.batched_model import BatchedModel
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.steady_camera import SteadyCamera
from depth_ros.ros.diagnostics import Timing
from depth_ros.ros.inputs.camera_model import CameraModelSource
from depth_ros.ros.inputs.newest import Counters, LatestImage, View
from depth_ros.ros.inputs.pairs import LatestPair
from depth_ros.ros.inputs.second_view import Motion, PoseOutputs, Stereo
from depth_ros.ros.inputs.stamps import RateLimit, nanoseconds
from depth_ros.ros.inputs.subscription import Input
from depth_ros.ros.inputs.upload import Upload
from depth_ros.ros.outputs.publishers import Outputs, Ready


class Stream:
    """Subscriptions, newest image and publishers of a camera; the worker calls the middle part.

    Args:
        node: owner of publishers and subscriptions.
        pipeline: for the device frames must be on, and for estimated intrinsics.
        settings: parameters; may be replaced at any time.
        name: goes before the names of all topics; '' for none.
        views: where a second view comes from, if one does.
    """

    def __init__(
        self,
        node: LifecycleNode,
        pipeline: Pipeline,
        settings: Settings,
        name: str = '',
        views: Stereo | Motion | None = None,
    ) -> None:
        """Create the publishers; `start` subscribes."""
        self.node = node
        self.pipeline = pipeline
        self.settings = settings
        self.name = name
        self.views = views
        self._prefix = f'{name}/' if name else ''
        self.outputs = (PoseOutputs if views else Outputs)(node, settings, self._prefix)
        self.inputs: list[Input] = []
        self.lenses: list[CameraModelSource] = []
        self._uploads: list[Upload] = []
        self._renew()

    @property
    def ahead(self) -> bool:
        """Whether the next frame is begun before this one is sent.

        A GPU works on it meanwhile. On a CPU, and where a network waits for its own answers, this
        one would only be later.
        """
        alone = self.views is None and isinstance(self.pipeline.model, BatchedModel)
        return alone and self.pipeline.device.type == 'cuda'

    def _renew(self) -> None:
        self.counters = Counters()
        self.timing = Timing()
        self.trouble = ''  #: what is wrong with the images now; '' for nothing
        self._rate = RateLimit()
        self._started_s = time.monotonic()

    def start(self) -> LatestImage | LatestPair:
        """Subscribe; the inbox that is filled from now on."""
        self._renew()
        node, settings, views = self.node, self.settings, self.views
        estimate = None
        if settings.intrinsics == 'estimated':
            estimate = SteadyCamera(self.pipeline.model.estimate_camera)
        inbox = (
            views.inbox(self.counters)
            if views
            else LatestImage(self.counters, needs_info=not estimate)
        )
        compressed = settings.image_transport == 'compressed'
        kind, topic = (CompressedImage, 'image/compressed') if compressed else (Image, 'image')
        topic, info = f'{self._prefix}{topic}', f'{self._prefix}camera_info'
        self.inputs = [Input(node, kind, topic, inbox.put_image, 1, settings.image_reliability)]
        if not estimate:
            self.inputs.append(Input(node, CameraInfo, info, inbox.put_info, 10, once=True))
        self.inputs += views.inputs(node, settings) if views else []
        self.lenses = [
            CameraModelSource(node.get_logger(), source.topic, settings.rectification, estimate)
            for source in self.inputs
            if source.message_type is kind
        ]
        self._uploads = [Upload(self.pipeline.device) for _ in self.lenses]
        return inbox

    def stop(self) -> None:
        """Unsubscribe."""
        for source in self.inputs:
            source.close()
        self.inputs = []

    def close(self) -> None:
        """Remove the publishers, too, and let go of the network."""
        self.stop()
        self.outputs.close()
        del self.pipeline

    def frames(self, images: list[View]) -> list[Frame]:
        """Decoded, with their cameras; none if this image is to be left out.

        Raises:
            DepthRosError: the image or its camera_info cannot be.
        """
        if not self.outputs.watched():
            self.counters.unwatched += 1
            self._glance(images)
            return []
        stamp_ns = nanoseconds(images[0][0].header.stamp)
        if not self._rate.admits(stamp_ns, self.outputs.rate(self.settings)):
            self.counters.limited += 1
            return []
        seers = zip(images, self.lenses, self._uploads, strict=True)
        return [self._frame(*view, lens, upload) for view, lens, upload in seers]

    def prepare(self, depth: DepthMap, header: Any) -> Ready:
        """Messages of the depth of the image with this header, on their way."""
        if self.settings.frame_id:
            header = type(header)(stamp=header.stamp, frame_id=self.settings.frame_id)
        return self.outputs.prepare(depth, header, self.settings)

    def send(self, ready: Ready, header: Any, busy_since_s: float) -> None:
        """Publish them; work on the image with this header began at `busy_since_s`."""
        self.outputs.send(ready)
        self.counters.published += 1
        self.trouble = ''
        now_ns = self.node.get_clock().now().nanoseconds
        # with use_sim_time and no /clock yet it is the year 1970, and there is no latency to tell
        latency_s = (now_ns - nanoseconds(header.stamp)) * 1e-9 if now_ns else float('nan')
        now_s = time.monotonic()
        self.timing.add(now_s, latency_s, now_s - busy_since_s)

    def silence(self, now_s: float) -> str:
        """Why there is no depth although the node is active; '' if there is nothing to say."""
        reasons = []
        for source in self.inputs:
            quiet_s = source.quiet_s(now_s, self._started_s)
            if quiet_s > self.settings.patience:
                reasons.append(f'no {source.relative} for {quiet_s:.0f} s: {source.why_silent()}')
        if not reasons and self.inputs and self.views is not None:
            return self.views.why_silent()
        return '; '.join(reasons)

    def _frame(self, message: Any, info: Any, lens: CameraModelSource, upload: Upload) -> Frame:
        pixels = upload(message)
        header = message.header
        camera = lens.of(header, info, pixels)
        return Frame(pixels, camera, nanoseconds(header.stamp), header.frame_id)

    def _glance(self, images: list[View]) -> None:
        """What is wrong with a camera is said also while nobody listens."""
        for (message, info), lens in zip(images, self.lenses, strict=True):
            if info is not None and hasattr(message, 'width'):
                lens.described(message.header, info, message.width, message.height)
                self.trouble = ''
