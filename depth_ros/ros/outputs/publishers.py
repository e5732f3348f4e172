# SPDX-License-Identifier: Apache-2.0
"""DepthMap -> messages, only for those who listen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from torch import Tensor

from depth_ros.core import encode
from depth_ros.core.types import DepthMap
from depth_ros.parameters.settings import Settings
from depth_ros.ros.inputs import camera_info
from depth_ros.ros.inputs.stamps import RateLimit, nanoseconds
from depth_ros.ros.outputs.message_buffer import MessageBuffer

POINT_STEP = 16
FIELDS = [
    PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
    for i, name in enumerate(('x', 'y', 'z', 'rgb'))
]


@dataclass(frozen=True, slots=True)
class Ready:
    """Messages whose data may still be on their way from a GPU.

    Args:
        messages: with the names of their topics.
        depth: what they were made of; on a GPU `has_finite` has a copy on its way, too.
        source: the same as it was; kept because its memory must not be used again before.
        arrived: when it happened all is there; None if it is.
    """

    messages: list[tuple[str, Any]]
    depth: DepthMap
    source: DepthMap
    arrived: torch.cuda.Event | None = None


class Outputs:
    """The publishers, the messages they reuse, and who listens.

    Args:
        node: owner of the publishers; they are inactive until it is active.
        settings: of reliability.
        prefix: before the names of the topics.
    """

    topics: ClassVar[dict[str, type]] = {
        'depth/image': Image,
        'depth/camera_info': CameraInfo,
        'points': PointCloud2,
        'depth/colorized': Image,
        'depth/confidence': Image,
    }

    def __init__(self, node: LifecycleNode, settings: Settings, prefix: str = '') -> None:
        """Create the publishers."""
        reliable = settings.output_reliability == 'reliable'
        qos = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        self.node = node
        self.publishers = {
            name: node.create_lifecycle_publisher(
                kind, f'{prefix}{name}', qos,
                qos_overriding_options=_overriding(node, f'{prefix}{name}'),
            )
            for name, kind in self.topics.items()
        }  # fmt: skip
        self.bytes = {name: MessageBuffer() for name in (*self.topics, 'valid points')}
        self.points_rate = RateLimit()
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def close(self) -> None:
        """Remove the publishers."""
        for publisher in self.publishers.values():
            self.node.destroy_lifecycle_publisher(publisher)
        for data in self.bytes.values():
            data.free()

    def watched(self, name: str = '') -> bool:
        """Whether anybody listens to the topic, or to any."""
        if name:
            return self.publishers[name].get_subscription_count() > 0
        return any(p.get_subscription_count() > 0 for p in self.publishers.values())

    def rate(self, settings: Settings) -> float:
        """Most depth images a second that anybody listens to [Hz]; 0 for all there are."""
        slower = settings.points.rate
        if not slower or not self._only_points():
            return settings.rate
        return min(settings.rate or slower, slower)

    def _only_points(self) -> bool:
        return not any(self.watched(name) for name in self.topics if name != 'points')

    def prepare(self, depth: DepthMap, header: Any, settings: Settings) -> Ready:
        """What is listened to, every message with this header; to be sent before the next one is.

        On a GPU this only queues the work, beside what the network does next.
        """
        if not depth.z.is_cuda:
            return Ready(list(self._messages(depth, header, settings)), depth, depth)
        device = depth.z.device
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        aside = self._streams[device]
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            try:
                messages = list(self._messages(depth, header, settings))
                told = replace(depth, has_finite=_on_its_way(depth.has_finite))
            except BaseException:
                aside.synchronize()  # what was queued before writes to memory that is given back
                raise
            return Ready(messages, told, depth, arrived=mark(device))

    def send(self, ready: Ready) -> None:
        """Publish it as soon as it is there.

        Raises:
            InferenceError: there is no depth in it.
        """
        self.settle(ready)
        for name, message in ready.messages:
            self.publishers[name].publish(message)

    def settle(self, ready: Ready) -> None:
        """Wait until all of it is there.

        Raises:
            InferenceError: there is no depth in it.
        """
        if ready.arrived is not None:  # besides the number of valid points, all that is waited for
            ready.arrived.synchronize()
            for data in self.bytes.values():
                data.settle()
        ready.depth.ensure_finite()

    def _messages(
        self, depth: DepthMap, header: Any, settings: Settings
    ) -> Iterator[tuple[str, Any]]:
        """Those that are listened to, by name; their data may still be on their way."""
        if self.watched('depth/image'):
            narrow = settings.depth_encoding == '16UC1'
            values = encode.millimetres(depth.z) if narrow else depth.z
            yield self._image('depth/image', header, values, settings.depth_encoding)
        if self.watched('depth/camera_info'):
            yield 'depth/camera_info', camera_info.to_message(depth.camera, header)
        stamp_ns = nanoseconds(header.stamp)
        if self.watched('points') and (
            self._only_points() or self.points_rate.admits(stamp_ns, settings.points.rate)
        ):
            yield self._points(depth, header, settings)
        if self.watched('depth/colorized'):
            look = settings.colorized
            picture = encode.colorize(depth.z, look.min, look.max, look.colormap)
            yield self._image('depth/colorized', header, picture, 'rgb8')
        if depth.confidence is not None and self.watched('depth/confidence'):
            yield self._image('depth/confidence', header, depth.confidence, '32FC1')

    def _image(self, name: str, header: Any, values: Tensor, encoding: str) -> tuple[str, Image]:
        data = self.bytes[name].fill(values)
        height, width = values.shape[:2]
        return name, Image(
            header=header,
            height=height,
            width=width,
            encoding=encoding,
            step=values.nbytes // height,
            data=data,
        )

    def _points(self, depth: DepthMap, header: Any, settings: Settings) -> tuple[str, PointCloud2]:
        stride, color = settings.points.stride, settings.points.color
        whole, valid, out = self.bytes['points'], self.bytes['valid points'], None
        if not depth.z.is_cuda:  # written where the message has it
            out = whole.floats(*encode.cloud_size(depth.camera, stride), 4)
        points = every = encode.cloud(depth, stride, color, out)
        if not settings.points.organized:
            points = encode.dense(every, depth.z, valid.floats)[None]  # one row, all of it finite
        here = whole if points.numel() == every.numel() else valid
        height, width = points.shape[:2]
        return 'points', PointCloud2(
            header=header,
            height=height,
            width=width,
            fields=FIELDS if color else FIELDS[:3],
            is_bigendian=False,
            point_step=POINT_STEP,
            row_step=POINT_STEP * width,
            data=here.fill(points) if depth.z.is_cuda else here.data,
            is_dense=not settings.points.organized,
        )


def mark(device: torch.device) -> torch.cuda.Event:
    """What happens when a GPU has done all it was told till now; to be waited for asleep."""
    event = torch.cuda.Event(blocking=True)
    event.record(torch.cuda.current_stream(device))
    return event


def _on_its_way(answered: Tensor | None) -> Tensor | None:
    """To locked memory on the CPU: to look at the GPU's own waits for all that is queued."""
    if answered is None:
        return None
    return torch.empty((), dtype=torch.bool, pin_memory=True).copy_(answered, non_blocking=True)


def _overriding(node: LifecycleNode, topic: str) -> QoSOverridingOptions | None:
    """The overrides in ROS's own way, where the user gave some.

    Otherwise the read-only parameters that rclpy declares for them would hold on to the QoS of the
    first configure.
    """
    prefix = f'qos_overrides.{node.resolve_topic_name(topic)}.publisher'
    if not node.get_parameters_by_prefix(prefix):
        return None
    return QoSOverridingOptions.with_default_policies()
