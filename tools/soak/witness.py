# SPDX-License-Identifier: Apache-2.0
"""The one participant that is never killed: it sees every output and diagnostic that arrives."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depth_ros.core.stamps import nanoseconds
from depth_ros.ros.process.fastdds import prepare
from depth_ros.ros.statistics import Counters
from tools.soak.checks import Seen
from tools.spun_node import SpunNode

NODE = 'depth_node'
OUTPUTS = {'depth/image': Image, 'depth/camera_info': CameraInfo, 'points': PointCloud2}
COUNTERS = tuple(Counters.__dataclass_fields__)
CLOCK_S = 0.1  #: period of /clock


class Witness:
    """rclpy in this process, spun by a thread; `depth_node` is asked and observed through it.

    The environment of this process must have the DDS domain already.
    """

    def __init__(self, cameras: Sequence[str]) -> None:
        self.cameras = tuple(cameras)
        self.life = 0  #: of the node, for what arrives from now on
        self.seen: list[Seen] = []
        self.counters: list[tuple[int, str, float, dict[str, int]]] = []  # life, camera, when
        self.troubles: set[str] = set()  #: texts of ERROR statuses
        self.clock_offset_s = 0.0  #: of /clock against the time
        self._lock = threading.Lock()
        prepare()
        self.node = SpunNode('witness')
        self._set: Any = self.node.create_client(SetParameters, f'/{NODE}/set_parameters')
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._clock = self.node.create_publisher(Clock, '/clock', 1)
        self.node.create_timer(CLOCK_S, self._tick)
        self._subscriptions: list[Any] = []
        self.watch(True)

    def close(self) -> None:
        """Leave the graph."""
        self.node.close()

    def watch(self, on: bool) -> None:
        """Subscribe to all outputs, or unsubscribe."""
        for subscription in self._subscriptions:
            self.node.destroy_subscription(subscription)
        self._subscriptions = [
            self.node.create_subscription(
                kind,
                f'{camera}/{output}',
                lambda message, c=camera, o=output: self._on_output(c, o, message),
                QoSProfile(depth=10),
            )
            for camera in self.cameras
            for output, kind in OUTPUTS.items()
            if on
        ]

    def has_depth(self, camera: str, since_s: float) -> bool:
        """Whether a depth image of a camera arrived after `since_s` (monotonic)."""
        of_camera = (
            s for s in reversed(self.seen) if (s.camera, s.output) == (camera, 'depth/image')
        )
        return any(s.at > since_s for s in itertools.islice(of_camera, 1))

    def accounts(self, camera: str, since_s: float) -> list[dict[str, int]]:
        """Counters of a camera in the diagnostics that arrived after `since_s` (monotonic)."""
        with self._lock:
            return [n for _, name, at, n in self.counters if name == camera and at > since_s]

    def set(self, name: str, value: Any, patience_s: float = 5.0) -> str | None:
        """Set a parameter of the node: why it was refused, '' for success, None for no answer."""
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        if not self._set.wait_for_service(patience_s):
            return None
        future = self._set.call_async(request)
        end = time.monotonic() + patience_s
        while not future.done():
            if time.monotonic() > end:
                self._set.remove_pending_request(future)
                return None
            time.sleep(0.01)
        (result,) = future.result().results
        return '' if result.successful else result.reason

    def lists(self, node: str) -> bool:
        """Whether a node is in the graph."""
        return node in self.node.get_node_names()

    def _tick(self) -> None:
        now_ns = time.time_ns() + round(self.clock_offset_s * 1e9)
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(now_ns, 10**9)
        self._clock.publish(message)

    def _on_output(self, camera: str, output: str, message: Any) -> None:
        low, high = _content(message)
        stamp, at = nanoseconds(message.header.stamp), time.monotonic()
        self.seen.append(Seen(self.life, camera, output, stamp, at, low, high))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            words = status.name.split()
            if status.level == status.ERROR:
                self.troubles.add(f'{" ".join(words[1:])}: {status.message}')
            values = {v.key: int(v.value) for v in status.values if v.key in COUNTERS}
            if words[-1] == 'depth' and values:
                with self._lock:
                    self.counters.append((self.life, words[-2], time.monotonic(), values))


def _content(message: Any) -> tuple[float, float]:
    """Least and greatest finite depth; NaN for none."""
    if isinstance(message, CameraInfo):
        return message.k[0] / message.width, message.k[4] / message.width
    if isinstance(message, Image):
        kind = np.uint16 if message.encoding == '16UC1' else np.float32
        z: Any = np.frombuffer(message.data, kind)
        z = np.where(z == 0, np.nan, z * 1e-3) if kind is np.uint16 else z
    else:
        z = np.frombuffer(message.data, np.float32).reshape(-1, message.point_step // 4)[:, 2]
    z = z[np.isfinite(z)]
    return (float(z.min()), float(z.max())) if z.size else (np.nan, np.nan)
