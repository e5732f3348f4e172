# SPDX-License-Identifier: Apache-2.0
"""DepthMap -> messages, only those that are wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from torch import Tensor

from depth_ros.core import compress, encode
from depth_ros.core.types import DepthMap
from depth_ros.parameters.settings import Points, Settings
from depth_ros.pipeline.filters.clouds import surfaces, thinning
from depth_ros.pipeline.filters.free_space import free_space
from depth_ros.ros.inputs import camera_info
from depth_ros.ros.outputs.clouds import CloudBuffer
from depth_ros.ros.outputs.demand import Demand
from depth_ros.ros.outputs.events import Rarely
from depth_ros.ros.outputs.message_buffer import CompressedDepthBuffer, MessageBuffer
from depth_ros.ros.outputs.messages import image_message

#: the name under which image_transport looks for it
COMPRESSED = 'depth/image/compressedDepth'


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message, and where its data are; `data` is None for one without large data."""

    topic: str
    message: Any
    data: MessageBuffer | None = None


@dataclass(frozen=True, slots=True)
class PendingMessages:
    """Messages whose data may still be copied from a GPU.

    Args:
        outgoing: in the order of publication.
        depth: what they were made of; on a GPU its `has_finite` is a copy on the CPU.
        source: the depth as it was; kept because its memory must not be reused before.
        arrived: CUDA event after all copies; None on a CPU.
    """

    outgoing: list[Outgoing]
    depth: DepthMap
    source: DepthMap
    arrived: torch.cuda.Event | None = None


class Outputs:
    """The publishers of one camera and the memory of their messages.

    Args:
        node: owner of the publishers; they are inactive until it is active.
        settings: of reliability.
        prefix: before the names of the topics.
    """

    topics: ClassVar[dict[str, type]] = {
        'depth/image': Image,
        COMPRESSED: CompressedImage,
        'depth/camera_info': CameraInfo,
        'points': PointCloud2,
        'points_clearing': PointCloud2,
        'depth/colorized': Image,
        'depth/confidence': Image,
        'depth/normals': Image,
    }

    def __init__(self, node: LifecycleNode, settings: Settings, prefix: str = '') -> None:
        reliable = settings.output_reliability == 'reliable'
        qos = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        self.node = node
        self.publishers: dict[str, Any] = {}
        events = Rarely()
        with contextlib.ExitStack() as made:
            made.callback(self._destroy_publishers)
            for name, kind in self.topics.items():
                topic = f'{prefix}{name}'
                overrides = _overriding(node, topic)
                self.publishers[name] = node.create_lifecycle_publisher(
                    kind, topic, qos, callback_group=events, qos_overriding_options=overrides
                )
            made.pop_all()
        kinds = self.topics.items()
        self.clouds = {name: CloudBuffer() for name, kind in kinds if kind is PointCloud2}
        self.compressed = CompressedDepthBuffer()
        self.buffers = {name: MessageBuffer() for name, kind in kinds if kind is Image}
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def close(self) -> None:
        """Remove the publishers."""
        self._destroy_publishers()
        for buffer in (*self.buffers.values(), self.compressed):
            buffer.free()
        for cloud in self.clouds.values():
            cloud.free()

    def _destroy_publishers(self) -> None:
        while self.publishers:
            self.node.destroy_lifecycle_publisher(self.publishers.popitem()[1])

    def subscribed(self) -> frozenset[str]:
        """Names of the outputs that have subscribers now."""
        return frozenset(n for n, p in self.publishers.items() if p.get_subscription_count() > 0)

    def prepare(
        self, depth: DepthMap, header: Any, demand: Demand, settings: Settings
    ) -> PendingMessages:
        """The messages that are wanted, with this header; send them before preparing the next.

        On a GPU this only queues the work, on another CUDA stream than the network's.
        """
        if not depth.z.is_cuda:
            outgoing = list(self._messages(depth, header, demand, settings))
            return PendingMessages(outgoing, depth, depth)
        device = depth.z.device
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        output_stream = self._streams[device]
        output_stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(output_stream):
            try:
                outgoing = list(self._messages(depth, header, demand, settings))
                depth_with_flag = replace(depth, has_finite=_to_locked_memory(depth.has_finite))
            except BaseException:
                output_stream.synchronize()  # copies already queued write to memory given back
                raise
            return PendingMessages(outgoing, depth_with_flag, depth, arrived=record_event(device))

    def send(self, pending: PendingMessages) -> None:
        """Wait for the data and publish.

        Raises:
            InferenceError: the depth holds no number.
        """
        for topic, message in self.complete(pending):
            self.publishers[topic].publish(message)

    def complete(self, pending: PendingMessages) -> Iterator[tuple[str, Any]]:
        """Wait for the data and put them into the messages, each with its topic.

        Raises:
            InferenceError: the depth holds no number.
        """
        if pending.arrived is not None:
            pending.arrived.synchronize()
        pending.depth.ensure_finite()
        for outgoing in pending.outgoing:
            if outgoing.data is not None:
                outgoing.data.give_to(outgoing.message)
            yield outgoing.topic, outgoing.message

    def _messages(
        self, depth: DepthMap, header: Any, demand: Demand, settings: Settings
    ) -> Iterator[Outgoing]:
        """Those that are wanted; their data may still be copied."""
        wanted = demand.topics
        if 'depth/image' in wanted:
            in_millimetres = settings.depth_encoding == '16UC1'
            values = encode.millimetres(depth.z) if in_millimetres else depth.z
            yield self._image('depth/image', header, values, settings.depth_encoding)
        if 'depth/camera_info' in wanted:
            yield Outgoing('depth/camera_info', camera_info.to_message(depth.camera, header))
        if 'points' in wanted:
            yield self._points(depth, header, settings.points)
        if 'points_clearing' in wanted:
            yield self._clearing(depth, header, settings.points)
        if 'depth/colorized' in wanted:
            colors = settings.colorized
            rgb = encode.colorize(depth.z, colors.min, colors.max, colors.colormap)
            yield self._image('depth/colorized', header, rgb, 'rgb8')
        if depth.confidence is not None and 'depth/confidence' in wanted:
            yield self._image('depth/confidence', header, depth.confidence, '32FC1')
        if depth.normals is not None and 'depth/normals' in wanted:
            yield self._image('depth/normals', header, depth.normals, '32FC3')
        if COMPRESSED in wanted:  # last: it is compressed when the others have been sent
            yield self._compressed(depth, header, settings)

    def _image(self, topic: str, header: Any, values: Tensor, encoding: str) -> Outgoing:
        buffer = self.buffers[topic]
        buffer.copy_from(values)
        height, width = values.shape[:2]
        message = image_message(header, height, width, encoding, values.nbytes // height)
        return Outgoing(topic, message, buffer)

    def _compressed(self, depth: DepthMap, header: Any, settings: Settings) -> Outgoing:
        compressed, encoding = settings.compressed_depth, settings.depth_encoding
        a, b = 0.0, 0.0
        if encoding == '16UC1':
            values = encode.millimetres(depth.z)
        else:
            a, b = compress.quantization(settings.range.min, settings.range.max or compress.FAR)
            values = compress.inverse_values(depth.z, a, b)
        self.compressed.fill(values, compressed.format, a, b, compressed.png_level)
        name = compress.encoding_name(encoding, compressed.format)
        return Outgoing(COMPRESSED, CompressedImage(header=header, format=name), self.compressed)

    def _points(self, depth: DepthMap, header: Any, points: Points) -> Outgoing:
        message, buffer = self.clouds['points'].fill(
            surfaces(depth, points, points.stride),
            header,
            stride=points.stride,
            color=points.color,
            organized=points.organized,
            kept=thinning(points, around=depth.lens is not None),
        )
        return Outgoing('points', message, buffer)

    def _clearing(self, depth: DepthMap, header: Any, points: Points) -> Outgoing:
        ends = free_space(depth, points.clearing_range)
        cloud = self.clouds['points_clearing']
        return Outgoing('points_clearing', *cloud.fill(ends, header, stride=points.stride))


def record_event(device: torch.device) -> torch.cuda.Event:
    """CUDA event after all work queued so far; `synchronize` blocks without spinning."""
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def _to_locked_memory(flag: Tensor | None) -> Tensor | None:
    """A copy on the CPU, in progress: reading the GPU's own would wait for all queued work."""
    if flag is None:
        return None
    return torch.empty((), dtype=torch.bool, pin_memory=True).copy_(flag, non_blocking=True)


def _overriding(node: LifecycleNode, topic: str) -> QoSOverridingOptions | None:
    """QoS overrides (`qos_overrides.<topic>.publisher.*`), where the user gave some.

    Otherwise the read-only parameters that rclpy declares for them would keep the QoS of the
    first configure.
    """
    prefix = f'qos_overrides.{node.resolve_topic_name(topic)}.publisher'
    if not node.get_parameters_by_prefix(prefix):
        return None
    return QoSOverridingOptions.with_default_policies()
