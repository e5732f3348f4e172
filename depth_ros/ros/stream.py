# SPDX-License-Identifier: Apache-2.0
"""One camera of the node: where its images come from and where its depth goes."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depth_ros.core.stamps import nanoseconds
from depth_ros.core.types import DepthMap, Frame
from depth_ros.messages.floor import FloorSource
from depth_ros.messages.images import Upload
from depth_ros.models import PRESETS
from depth_ros.models.batched_model import BatchedModel
from depth_ros.models.interface import EstimatesCamera
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline, Snapshot
from depth_ros.pipeline.filters import Filters
from depth_ros.pipeline.scaling.anchored import AnchoredScale
from depth_ros.pipeline.steady_camera import SteadyCamera
from depth_ros.ros.diagnostics import CameraState
from depth_ros.ros.inputs.anchors import AnchorSources
from depth_ros.ros.inputs.camera_model import CameraModelSource
from depth_ros.ros.inputs.newest import LatestImage, Slot, View
from depth_ros.ros.inputs.second_view import Motion, Stereo
from depth_ros.ros.inputs.subscription import Input
from depth_ros.ros.inputs.tf import Transforms
from depth_ros.ros.outputs.demand import Demand, DemandGate
from depth_ros.ros.outputs.publishers import Outputs, PendingMessages
from depth_ros.ros.outputs.relative_pose import TwoViewOutputs
from depth_ros.ros.outputs.scale import AnchoredOutputs
from depth_ros.ros.statistics import Statistics


@dataclass(frozen=True, slots=True)
class Work:
    """One image, or pair of images, on its way from the subscription to the outputs.

    Args:
        stream: of its camera.
        views: the messages; the depth is that of the first.
        demand: which outputs are wanted.
        snapshot: the settings for all of its way.
        started_s: monotonic time when work on it began [s].
    """

    stream: Stream
    views: list[View]
    demand: Demand
    snapshot: Snapshot
    started_s: float

    @property
    def header(self) -> Any:
        """Of the image whose depth is made; the outputs carry it."""
        return self.views[0].image.header


class Stream:
    """Subscriptions, newest image and publishers of a camera.

    The executor's thread starts and stops it. The worker's thread calls `admit`, `frames`,
    `prepare` and `send`, in this order.

    Args:
        node: owner of publishers and subscriptions.
        pipeline: for the device frames must be on, and for estimated intrinsics.
        settings: of the publishers.
        name: before the names of all topics; '' for none.
        second_view: where a second view comes from; None for one view.

    Raises:
        ConfigError: the floor or a source of anchors is not possible here.
    """

    def __init__(
        self,
        node: LifecycleNode,
        pipeline: Pipeline,
        settings: Settings,
        name: str = '',
        second_view: Stereo | Motion | None = None,
    ) -> None:
        self.node = node
        self.pipeline = pipeline
        self.name = name
        self.second_view = second_view
        self.prefix = f'{name}/' if name else ''  #: of its topics
        self.label = f'{name}: ' if name else ''  #: of its log lines
        self.inputs: list[Input] = []
        self.anchor_inputs: list[Input] = []  # which depth can do without for a while
        self._anchors: AnchorSources | None = None
        kind: type[Outputs] = TwoViewOutputs if second_view else Outputs
        self.floor = FloorSource(partial(Transforms, node))
        try:
            self.floor.listen(settings)
            if any(settings.anchors.sources):
                anchors = AnchorSources(node, settings.anchors, self.floor)
                self._anchors, kind = anchors, AnchoredOutputs
            self.outputs = kind(node, settings, self.prefix)
        except BaseException:
            self._close_sources()
            raise
        self.cameras: list[CameraModelSource] = []
        self._uploads: list[Upload] = []
        self._start_again()

    @property
    def overlaps_inference(self) -> bool:
        """Whether the network starts on the next frame before this one is sent.

        That pays on a GPU. On a CPU, and where a network waits for its own results, it would only
        delay this frame.
        """
        batched = self.second_view is None and isinstance(self.pipeline.model, BatchedModel)
        return batched and self.pipeline.device.type == 'cuda'

    @property
    def all_inputs(self) -> list[Input]:
        """Those of images and those of anchors."""
        return self.inputs + self.anchor_inputs

    def _start_again(self) -> None:
        self.statistics = Statistics()
        #: of this camera; what they remember is of this activation
        self.filters = Filters()
        self.scale: AnchoredScale | None = None  #: the same
        if anchors := self._anchors:
            self.scale = AnchoredScale(anchors, lambda: anchors.reasons)
        self.floor.reason = ''
        self._jumps = -1  # of the scale, when it was last logged
        self._gate = DemandGate()
        self._started_s = time.monotonic()

    def start(self, settings: Settings) -> Slot:
        """Subscribe; returns the slot that holds the newest image from now on."""
        self._start_again()
        node, second_view, counters = self.node, self.second_view, self.statistics.counters
        estimate = None
        if settings.intrinsics == 'estimated':
            assert isinstance(self.pipeline.model, EstimatesCamera)  # `build` refuses others
            estimate = SteadyCamera(self.pipeline.model.estimate_camera, label=self.label)
        slot = second_view.slot(counters) if second_view else LatestImage(counters, not estimate)
        compressed = settings.image_transport == 'compressed'
        kind, topic = (CompressedImage, 'image/compressed') if compressed else (Image, 'image')
        topic, info = f'{self.prefix}{topic}', f'{self.prefix}camera_info'
        self.inputs = [Input(node, kind, topic, slot.put_image, 1, settings.image_reliability)]
        if not estimate:
            self.inputs.append(Input(node, CameraInfo, info, slot.put_info, 10, once=True))
        self.inputs += second_view.inputs(node, settings) if second_view else []
        self.anchor_inputs = self._anchors.inputs(node) if self._anchors else []
        self.cameras = [
            CameraModelSource(
                node.get_logger(),
                self.label,
                i.topic,
                settings.rectification,
                estimate,
                settings.undistort,
                PRESETS.get(settings.model),
            )
            for i in self.inputs
            if i.message_type is kind
        ]
        self._uploads = [Upload(self.pipeline.device, self.label) for _ in self.cameras]
        return slot

    def stop(self) -> None:
        """Unsubscribe."""
        for source in self.all_inputs:
            source.close()
        self.inputs, self.anchor_inputs = [], []

    def close(self) -> None:
        """Remove the publishers as well, and release the network."""
        self.stop()
        self.outputs.close()
        self._close_sources()
        del self.pipeline

    def _close_sources(self) -> None:
        self.floor.close()
        if self._anchors is not None:
            self._anchors.close()

    def admit(self, views: list[View], snapshot: Snapshot, started_s: float) -> Work:
        """Decide what is wanted of an image."""
        stamp_ns = nanoseconds(views[0].image.header.stamp)
        demand = self._gate.decide(self.outputs.subscribed(), stamp_ns, snapshot.settings)
        return Work(self, views, demand, snapshot, started_s)

    def frames(self, work: Work) -> list[Frame]:
        """Decode the images and find their cameras; an empty list if no output is wanted.

        Raises:
            ImageError: an image cannot be decoded.
            CameraError: its camera_info cannot be used.
        """
        self.statistics.unwatched = not work.demand.subscribed
        if work.demand:
            seen = zip(work.views, self.cameras, self._uploads, strict=True)
            frames = [_frame(view, camera, upload) for view, camera, upload in seen]
            settings = work.snapshot.settings
            if settings.frame_id:  # TF has it under this name
                frames[0] = dataclasses.replace(frames[0], frame_id=settings.frame_id)
            if floor := self.floor(frames[0], settings):
                frames[0] = dataclasses.replace(frames[0], floor=floor)
            if self._anchors is not None:
                frames[0] = self._anchors.take(frames[0])
            return frames
        counters = self.statistics.counters
        if work.demand.subscribed:
            counters.limited += 1
        else:
            self._check_cameras(work.views)
            counters.unwatched += 1
        return []

    def prepare(self, depth: DepthMap, work: Work) -> PendingMessages:
        """The messages of a depth map; on a GPU their data are being copied."""
        header, settings = work.header, work.snapshot.settings
        if settings.frame_id:
            header = type(header)(stamp=header.stamp, frame_id=settings.frame_id)
        return self.outputs.prepare(depth, header, work.demand, settings)

    def send(self, pending: PendingMessages, work: Work) -> None:
        """Publish the messages and count the frame.

        Raises:
            InferenceError: the depth holds no number.
        """
        self.outputs.send(pending)
        now_ns = self.node.get_clock().now().nanoseconds
        # with use_sim_time and no /clock yet the time is 0, and the latency unknown
        latency_s = (now_ns - nanoseconds(work.header.stamp)) * 1e-9 if now_ns else float('nan')
        now_s = time.monotonic()
        if (scale := pending.depth.scale) is not None and scale.jumps != self._jumps:
            self._jumps = scale.jumps
            self.node.get_logger().info(f'{self.label}{scale}; by {" and ".join(scale.sources)}')
        doubt = self.statistics.add_published(now_s, latency_s, now_s - work.started_s)
        if doubt:
            self.node.get_logger().warning(self.label + doubt)

    def silence(self, now_s: float, patience_s: float) -> str:
        """Why no images arrive although the node is active; '' if they do."""
        reasons = self._silent(self.inputs, now_s, patience_s)
        if not reasons and self.inputs and self.second_view is not None:
            return self.second_view.why_silent()
        return reasons

    def _silent(self, inputs: list[Input], now_s: float, patience_s: float) -> str:
        quiet = ((source, source.quiet_s(now_s, self._started_s)) for source in inputs)
        return '; '.join(
            f'no {source.relative} for {quiet_s:.0f} s: {source.why_silent()}'
            for source, quiet_s in quiet
            if quiet_s > patience_s
        )

    def missing(self, now_s: float, patience_s: float) -> str:
        """What depth or clouds do without for now, and why; '' for nothing."""
        reasons = [self._missing_anchors(now_s, patience_s)]
        drops = self.pipeline.snapshot.settings.points.ground == 'drop'
        drops = drops and bool(self.inputs) and not self.statistics.unwatched
        if drops and (reason := self.floor.reason):
            reasons.append(f'points.ground is drop, but no floor is dropped: {reason}')
        return '; '.join(filter(None, reasons))

    def _missing_anchors(self, now_s: float, patience_s: float) -> str:
        """Why the scale is held although there are sources of anchors; '' if it is not."""
        off = self.pipeline.snapshot.scaling.method != 'anchors' or self.statistics.unwatched
        if self.scale is None or not self.inputs or off:
            return ''
        if silent := self._silent(self.anchor_inputs, now_s, patience_s):
            return silent
        state = self.scale.state
        if not state.age_s > patience_s:
            return ''
        return f'no anchors used for {state.age_s:.1f} s: {state.reason or "none of this time"}'

    def state(
        self, silence: str, missing: str, now_s: float, second_view: dict[str, Any]
    ) -> CameraState:
        """What the diagnostics show.

        Args:
            silence: why no images arrive; '' if they do.
            missing: what depth or clouds do without; '' for nothing.
            now_s: monotonic time [s].
            second_view: the state of two views, by name.
        """
        topics = {
            i.relative: (i.topic, 'reliable' if i.reliable else 'best_effort')
            for i in self.all_inputs
        }
        doubts = (doubt for c in self.cameras for doubt in c.doubts)
        scale = dict(second_view)
        if self.scale is not None and self._anchors is not None:
            reasons = self._anchors.reasons
            scale |= self.scale.state.named() | {f'anchors of {n}': r for n, r in reasons.items()}
        known = bool(self.cameras) and self.cameras[0].camera is not None
        return CameraState(
            name=self.name,
            topics=topics,
            camera=' and '.join(str(c.camera) for c in self.cameras) if known else '',
            doubts='; '.join(filter(None, (*doubts, self.statistics.clock_doubt))),
            missing=missing,
            intrinsics=self.cameras[0].source if self.cameras else '',
            trouble=silence or self.statistics.trouble,
            busy_s=now_s - self.statistics.busy_since_s if self.statistics.busy_since_s else 0.0,
            counters=dataclasses.asdict(self.statistics.counters),
            summary=self.statistics.timing.summary(now_s),
            scale=scale,
        )

    def _check_cameras(self, views: list[View]) -> None:
        """Report a bad camera_info also while no output has subscribers."""
        for view, camera in zip(views, self.cameras, strict=True):
            if view.info is not None and hasattr(view.image, 'width'):
                camera.from_camera_info(view, view.image.width, view.image.height)
                self.statistics.trouble = ''


def _frame(view: View, camera: CameraModelSource, upload: Upload) -> Frame:
    rgb = upload(view.image)
    header = view.image.header
    return Frame(rgb, camera.camera_for(view, rgb), nanoseconds(header.stamp), header.frame_id)
