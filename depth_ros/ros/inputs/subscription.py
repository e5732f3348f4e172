# SPDX-License-Identifier: Apache-2.0
"""A subscription whose QoS matches its publishers, and that explains why nothing arrives."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depth_ros.ros.process import fastdds

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # its place on Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

#: how long configure waits for a camera_info, which is of use but not needed [s]
INFO_PATIENCE_S = 1.0
#: hears what was published before, from those publishers that keep it
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

#: message type of images -> the other one, and the value of image_transport that subscribes to it
OTHER_TRANSPORT = {Image: (CompressedImage, 'compressed'), CompressedImage: (Image, 'raw')}
SUFFIX = '/compressed'


def camera_size(
    node: Node, topic: str, patience_s: float = INFO_PATIENCE_S
) -> tuple[int, int] | None:
    """Width and height [px] that a camera_info says; None if none came within `patience_s`.

    Blocks, because the node has no subscriptions before it is active.
    """
    # rclpy's wait_for_message takes no QoS on Humble, and would miss a best-effort camera. A
    # latched message reaches only the second subscription, other messages only the first.
    subscriptions = [
        node.create_subscription(CameraInfo, topic, lambda _: None, qos)
        for qos in (qos_profile_sensor_data, LATCHED)
    ]
    end_s = time.monotonic() + patience_s
    try:
        while time.monotonic() < end_s:
            for subscription in subscriptions:
                with subscription.handle:
                    taken = subscription.handle.take_message(CameraInfo, False)
                if taken is not None and taken[0].width and taken[0].height:
                    return taken[0].width, taken[0].height
            time.sleep(0.01)
    finally:
        for subscription in subscriptions:
            node.destroy_subscription(subscription)
    return None


class Input:
    """A subscription, replaced when the publishers offer another QoS.

    Best effort connects to every publisher, but loses megabyte images of a driver with stock Fast
    DDS. Reliable loses none, but connects only to reliable publishers. `auto` is reliable if all
    publishers are.

    Args:
        node: owner of the subscription.
        message_type: class of the message.
        topic: relative name, before remapping.
        callback: called with each message.
        depth: messages that the middleware keeps.
        reliability: auto, reliable or best_effort.
        once: the topic may be published once only; silence after that is normal. What some of
            several publishers keep for later subscribers is received from them, too.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        callback: Callable[[Any], None],
        depth: int,
        reliability: str = 'auto',
        once: bool = False,
    ) -> None:
        self.once = once
        self.last_s = 0.0  #: monotonic time of the last arrival, 0 for never
        self.node = node
        self.message_type = message_type
        self.callback = callback
        self.reliability = reliability
        self.depth = depth
        self.relative = topic
        self.topic = node.resolve_topic_name(topic)
        self._subscribe(self._matching_qos())

    def _subscribe(self, profiles: list[QoSProfile]) -> None:
        self._profiles = profiles
        # rclpy warns of publishers that do not fit; of the second subscription that is meant
        quiet = SubscriptionEventCallbacks(incompatible_qos=lambda _: None)
        self._subscriptions = [
            self.node.create_subscription(
                self.message_type,
                self.relative,
                self._arrived,
                qos,
                event_callbacks=quiet if qos is LATCHED else None,
            )
            for qos in profiles
        ]

    @property
    def reliable(self) -> bool:
        """Whether it is subscribed as reliable."""
        return bool(self._profiles[0].reliability == ReliabilityPolicy.RELIABLE)

    def _arrived(self, message: Any) -> None:
        self.last_s = time.monotonic()
        self.callback(message)

    def quiet_s(self, now_s: float, since_s: float) -> float:
        """Seconds without a message at `now_s`, if subscribed since `since_s` (monotonic)."""
        return 0.0 if self.once and self.last_s else now_s - (self.last_s or since_s)

    def refresh(self) -> None:
        """Replace the subscription if the present publishers offer another QoS."""
        profiles = self._matching_qos()
        now, then = (
            [(qos.reliability, qos.durability) for qos in some]
            for some in (profiles, self._profiles)
        )
        if now != then:
            self.close()
            self._subscribe(profiles)

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self.node.destroy_subscription(subscription)

    def _matching_qos(self) -> list[QoSProfile]:
        """Of one subscription, or of two where some publishers only are latched."""
        offered = [info.qos_profile for info in self.node.get_publishers_info_by_topic(self.topic)]
        reliable = self.reliability == 'reliable' or (
            self.reliability == 'auto'
            and bool(offered)
            and all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
        )
        # what was published before reaches only transient-local subscribers, and these hear
        # only publishers that keep it
        latched = [qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered]
        only_latched = reliable and bool(latched) and all(latched)
        qos = QoSProfile(
            depth=self.depth,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=(
                DurabilityPolicy.TRANSIENT_LOCAL if only_latched else DurabilityPolicy.VOLATILE
            ),
        )
        return [qos, LATCHED] if self.once and any(latched) and not only_latched else [qos]

    def why_silent(self) -> str:
        """One sentence with the likely reason that nothing arrives, and the remedy."""
        publishers = self.node.get_publishers_info_by_topic(self.topic)
        if not publishers:
            return f'{self.topic} has no publisher{self._suggestion()}'
        types = {info.topic_type for info in publishers}
        if _full_name(self.message_type) not in types:
            carried = ', '.join(sorted(types))
            remedy = 'remap the topic'
            other, transport = OTHER_TRANSPORT.get(self.message_type, (None, ''))
            if other and _full_name(other) in types:
                remedy = self._with_transport(transport, self.topic)
            wanted = _full_name(self.message_type)
            return f'{self.topic} carries {carried}, not {wanted}: {remedy}'
        offers = [info.qos_profile.reliability for info in publishers]
        if self.reliable and ReliabilityPolicy.RELIABLE not in offers:
            return (
                f'{self.topic} is published best effort but subscribed reliable, which never '
                'connects: set image_reliability to auto'
            )
        if not get_rmw_implementation_identifier().startswith('rmw_fastrtps'):
            return f'{len(publishers)} publisher(s) of {self.topic} match but nothing arrives'
        silent = f'{len(publishers)} publisher(s) of {self.topic} match but nothing arrives: the '
        if self.message_type is CameraInfo:  # a few hundred bytes fit every segment
            return (
                f'{silent}driver is paused, or cannot share memory with this node, as it runs '
                'under another user or in another container: set '
                f'{fastdds.TRANSPORTS}=UDPv4 in the environment of either'
                + (
                    '; it has no effect with ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST'
                    if fastdds.this_machine_only()
                    else ''
                )
            )
        return (
            f'{silent}driver is paused, or its shared memory is too small for the message: set '
            f"{fastdds.remedy()} in the camera driver's environment. If it worked before and a "
            'process was killed, start this node again'
        )

    def _suggestion(self) -> str:
        """What to subscribe to instead of a topic without publishers; the likeliest first."""
        wanted = self.message_type.__name__
        topics = self._published(self.message_type)
        other, transport = OTHER_TRANSPORT.get(self.message_type, (None, ''))
        others = self._published(other) if other else []
        sibling = self.topic.removesuffix(SUFFIX) if transport == 'raw' else self.topic + SUFFIX
        if other and (sibling in others or (others and not topics)):
            found = sibling if sibling in others else others[0]
            return (
                f', but {found} publishes {other.__name__}: '
                f'{self._with_transport(transport, found)}'
            )
        if not topics:
            return (
                f', and there is no {wanted} topic at all: is the camera driver running, with the '
                'same ROS_DOMAIN_ID?'
            )
        return (
            f'; {wanted} topics with publishers: {", ".join(topics)}. '
            f'Remap: --ros-args -r {self.relative}:={topics[0]}'
        )

    def _published(self, message_type: type) -> list[str]:
        """Topics of a type that other nodes publish, likely camera images first."""
        node = self.node
        own = dict(
            node.get_publisher_names_and_types_by_node(node.get_name(), node.get_namespace())
        )
        topics = [
            name
            for name, types in node.get_topic_names_and_types()
            if _full_name(message_type) in types
            and name not in own
            and node.count_publishers(name)
        ]
        return sorted(topics, key=lambda t: ('depth' in t, 'compressed' in t, t))

    def _with_transport(self, transport: str, topic: str) -> str:
        """The remedy where `topic` has the images, but of the other `image_transport`."""
        relative = self.relative.removesuffix(SUFFIX) + (SUFFIX if transport != 'raw' else '')
        remap = ''
        if self.node.resolve_topic_name(relative) != topic:
            remap = f' and remap {relative}:={topic}'
        return f'set the parameter image_transport:={transport}{remap}, and start the node again'


def _full_name(message_type: type) -> str:
    """As the graph has it, for example sensor_msgs/msg/Image."""
    return f'{message_type.__module__.split(".")[0]}/msg/{message_type.__name__}'
