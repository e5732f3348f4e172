# SPDX-License-Identifier: Apache-2.0
"""What running nodes publish, for a viewer: found by /diagnostics, shown as it arrives."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from depth_ros.core.bit_depth import BitDepth
from depth_ros.core.camera import DISTORTION_MODELS, Camera
from depth_ros.core.encode import POINT_STEP
from depth_ros.core.errors import DepthRosError
from depth_ros.core.geometry import undistort
from depth_ros.core.stamps import nanoseconds
from depth_ros.core.types import Frame
from depth_ros.messages.camera_info import camera_from, named_rectified
from depth_ros.messages.images import to_rgb
from depth_ros.messages.sensors import depth_image
from depth_ros.ros.inputs.subscription import Input
from depth_ros.ros.process import fastdds
from depth_ros.ros.process.init import init, shutdown

PATIENCE_S = 3.0  #: without depth, before that is reported
HELD_BYTES = 256 << 20  #: images that wait for their depth
MAX_LATENCY_S = 60.0  #: more is a stamp of another clock
#: sensor data, of which only the newest counts; it never makes the node wait
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LEVELS = {
    DiagnosticStatus.OK: 'INFO', DiagnosticStatus.WARN: 'WARN', DiagnosticStatus.ERROR: 'ERROR',
}  # fmt: skip
OUTPUTS: dict[str, type] = {
    'depth/image': Image,
    'depth/camera_info': CameraInfo,
    'points': PointCloud2,
    'depth/scale': DiagnosticArray,
}


class Screen(Protocol):
    """What shows it; see `offline.viewer.Viewer`."""

    def show(
        self,
        name: str,
        stamp_ns: int,
        *,
        rgb: NDArray[np.uint8] | None = None,
        z: NDArray[np.float32] | None = None,
        camera: Camera | None = None,
        points: NDArray[np.float32] | None = None,
        colored: bool = True,
        scale: tuple[float, float] | None = None,
        figures: dict[str, float] | None = None,
    ) -> None:
        """Show what is known of one image; what is None stays as it was."""

    def tell(self, name: str, text: str, stamp_ns: int, *, level: str = 'INFO') -> None:
        """Add a line to the log of a camera."""

    def describe(self, name: str, camera: Camera, network: dict[str, str]) -> None:
        """Text about a camera and its network."""


class Stream:
    """The topics of one camera of a node.

    Args:
        node: owner of the subscriptions.
        screen: shows what arrives.
        name: on the screen.
        prefix: before the names of its outputs.
    """

    def __init__(self, node: Node, screen: Screen, name: str, prefix: str) -> None:
        self.node, self.screen, self.name = node, screen, name
        self.network: dict[str, str] = {}
        self.why = ''  # the node has no depth, in its own words
        self.last_s, self.stamp_ns = time.monotonic(), 0
        self.reported = ''
        self._image: Input | None = None
        self._info: Input | None = None
        self._rectified: bool | None = None  # whether the image has no distortion of the lens
        self._calibration: CameraInfo | None = None
        self._held: OrderedDict[int, Any] = OrderedDict()  # stamp -> image
        self._held_bytes = 0
        self._bit_depth = BitDepth(f'{name}: ')
        self._camera: Camera | None = None
        self._foreign_clock = False
        self._words: dict[str, str] = {}
        callbacks: dict[str, Callable[[Any], None]] = {
            'depth/image': self._on_depth,
            'depth/camera_info': self._on_camera,
            'points': self._on_points,
            'depth/scale': self._on_scale,
        }
        self.prefix = prefix
        self._subscriptions = [
            node.create_subscription(kind, prefix + topic, callbacks[topic], NEWEST)
            for topic, kind in OUTPUTS.items()
        ]

    def listen(self, topic: str, info_topic: str, camera: str) -> None:
        """Subscribe to the images that the node uses.

        Args:
            topic: full name; '' for none that is known.
            info_topic: of their camera_info.
            camera: that of the images in the words of the node, '' before the first.
        """
        if re.match(r'\d+x\d+, fx ', camera):  # as `core.camera.Camera` says it
            self._rectified = not any(f' px, {model}' in camera for model in DISTORTION_MODELS)
        elif named_rectified(topic):
            self._rectified = True
        if topic and (self._image is None or self._image.topic != topic):
            if self._image is not None:
                self._image.close()
            kind = CompressedImage if topic.endswith('/compressed') else Image
            # best effort would lose the large images of a driver with default Fast DDS settings
            self._image = Input(self.node, kind, topic, self._on_image, 5)
        if info_topic and (self._info is None or self._info.topic != info_topic):
            if self._info is not None:
                self._info.close()
            self._info = Input(self.node, CameraInfo, info_topic, self._on_info, 1, once=True)

    def hear(self, status: DiagnosticStatus) -> None:
        """Keep what the node says of itself, and log it where it changes."""
        values = {value.key: value.value for value in status.values}
        kind = status.name.rpartition(' ')[2]
        level = LEVELS.get(status.level, 'ERROR')
        words = status.message if level == 'INFO' else f'{level}: {status.message}'
        is_new = _without_numbers(words) != _without_numbers(self._words.get(kind, ''))
        self._words[kind] = words
        if is_new:
            self.screen.tell(self.name, f'{kind}: {status.message}', self.stamp_ns, level=level)
        bad = [word for word in self._words.values() if word.startswith(('WARN', 'ERROR'))]
        self.why = '; '.join(bad)
        if kind == 'depth':
            self._hear_depth(values)

    def _hear_depth(self, values: dict[str, str]) -> None:
        names = ('model', 'adapted', 'scaling', 'device', 'precision', 'licence')
        network = {name: values[name] for name in names if values.get(name)}
        if network != self.network:
            self.network = network
            if self._camera is not None:
                self.screen.describe(self.name, self._camera, network)
        plotted = {'time/processing': 'processing p50 [ms]', 'rate/depth': 'rate [Hz]'}
        figures = {figure: float(values[key]) for figure, key in plotted.items() if key in values}
        if figures and self.stamp_ns:
            self.screen.show(self.name, self.stamp_ns, figures=figures)

    def refresh(self) -> None:
        """Follow the QoS of the publishers."""
        for one in (self._image, self._info):
            if one is not None:
                one.refresh()

    def silence(self, now_s: float) -> str:
        """Why nothing is shown, if so for longer than `PATIENCE_S`."""
        if now_s - self.last_s < PATIENCE_S:
            return ''
        waits = []
        for topic in ('depth/image', 'depth/camera_info', 'points'):
            full = self.node.resolve_topic_name(self.prefix + topic)
            count = self.node.count_publishers(full)
            waits.append(f'{full} ({count} publisher{"s" if count != 1 else ""})')
        node = f'. The node says: {self.why}' if self.why else ''
        return f'nothing to show for {PATIENCE_S:g} s: waiting for {", ".join(waits)}{node}'

    def _on_image(self, message: Any) -> None:
        stamp_ns = nanoseconds(message.header.stamp)
        if stamp_ns == self.stamp_ns:  # its depth was faster
            self._show_image(stamp_ns, message)
            return
        self._held[stamp_ns] = message
        self._held_bytes += len(message.data)
        while self._held_bytes > HELD_BYTES and len(self._held) > 1:
            self._held_bytes -= len(self._held.popitem(last=False)[1].data)

    def _on_info(self, message: CameraInfo) -> None:
        self._calibration = message

    def _show_image(self, stamp_ns: int, message: Any) -> None:
        try:
            rgb = to_rgb(message, self._bit_depth)
            if not self._rectified and self._calibration is not None:
                rgb = self._undistorted(rgb, self._calibration)
        except DepthRosError as error:
            self._complain(str(error))
            return
        self.screen.show(self.name, stamp_ns, rgb=rgb)

    def _undistorted(self, rgb: NDArray[np.uint8], info: CameraInfo) -> NDArray[np.uint8]:
        camera = camera_from(info, rgb.shape[1], rgb.shape[0], self._rectified)
        frame = Frame(torch.from_numpy(np.require(rgb, requirements='W')), camera)
        shown = self._camera  # that of the depth, which the parameters `undistort.*` decide
        if shown is not None and shown.is_distorted:
            return rgb
        target = shown if shown is not None and shown.size == camera.size else None
        return undistort(frame, target)[0].rgb.numpy()

    def _on_depth(self, message: Image) -> None:
        self.last_s = time.monotonic()
        self.stamp_ns = nanoseconds(message.header.stamp)
        try:
            z = depth_image(message)
        except DepthRosError as error:
            self._complain(str(error))
            return
        z[z == 0] = np.nan  # in millimetres
        finite = z[np.isfinite(z)]
        figures = {'depth/median': float(np.median(finite))} if len(finite) else {}
        latency_s = (self.node.get_clock().now().nanoseconds - self.stamp_ns) * 1e-9
        if 0 <= latency_s < MAX_LATENCY_S:
            figures['time/latency'] = 1e3 * latency_s
        elif not self._foreign_clock:
            self._foreign_clock = True
            self._complain('no latency is shown: the stamps of the images are of another clock')
        image = self._held.pop(self.stamp_ns, None)
        if image is not None:
            self._held_bytes -= len(image.data)
            self._show_image(self.stamp_ns, image)
        self.screen.show(self.name, self.stamp_ns, z=z, figures=figures)

    def _on_camera(self, message: CameraInfo) -> None:
        try:
            camera = camera_from(message, message.width, message.height, rectified=None)
        except DepthRosError as error:
            self._complain(str(error))
            return
        if camera != self._camera:
            self._camera = camera
            self.screen.describe(self.name, camera, self.network)
        self.screen.show(self.name, nanoseconds(message.header.stamp), camera=camera)

    def _on_points(self, message: PointCloud2) -> None:
        if message.point_step != POINT_STEP or message.is_bigendian:
            self._complain(f'points of {message.point_step} bytes are not of depth_node')
            return
        points = np.frombuffer(message.data, np.float32).reshape(-1, 4)
        colored = any(field.name == 'rgb' for field in message.fields)
        stamp_ns = nanoseconds(message.header.stamp)
        self.screen.show(self.name, stamp_ns, points=points, colored=colored)

    def _on_scale(self, message: DiagnosticArray) -> None:
        values = {value.key: value.value for s in message.status for value in s.values}
        try:
            scale = float(values['scale']), float(values['scale spread [%]'])
        except (KeyError, ValueError):
            return
        self.screen.show(self.name, nanoseconds(message.header.stamp), scale=scale)

    def _complain(self, text: str) -> None:
        if text not in self._words.values():
            self._words[text] = text
            print(f'{self.name}: {text}', file=sys.stderr, flush=True)

    def close(self) -> None:
        """Unsubscribe."""
        for one in (self._image, self._info):
            if one is not None:
                one.close()
        for subscription in self._subscriptions:
            self.node.destroy_subscription(subscription)


def _without_numbers(text: str) -> str:
    """For comparison: what counts seconds changes every second, and says nothing new."""
    return re.sub(r'[\d.]+', '', text)


class LiveView:
    """Shows the cameras of all nodes, or of those in one namespace.

    Args:
        node: owner of the subscriptions; its namespace is that of relative names.
        screen: shows what arrives.
        namespace: of the nodes, '' for any.
    """

    def __init__(self, node: Node, screen: Screen, namespace: str = '') -> None:
        self.node, self.screen, self.namespace = node, screen, namespace
        self.streams: dict[tuple[str, str], Stream] = {}
        self._others: set[str] = set()  # namespaces of nodes that are not shown
        self._started_s = time.monotonic()
        self._reported: set[str] | None = None  # the other namespaces that were named
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._hear, qos)
        # steady: with use_sim_time and no /clock it must still report
        node.create_timer(1.0, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _hear(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.hardware_id != 'depth_ros':
                continue
            full, _, what = status.name.partition(': ')
            camera, _, kind = what.rpartition(' ')
            if kind not in ('camera', 'depth'):
                continue
            namespace = full.rpartition('/')[0] or '/'
            if self.namespace and namespace != self.namespace:
                self._others.add(namespace)
                continue
            stream = self._stream(namespace, camera)
            if kind == 'camera':
                self._listen(stream, camera, status)
            stream.hear(status)

    def _stream(self, namespace: str, camera: str) -> Stream:
        if (namespace, camera) not in self.streams:
            below = f'{camera}/' if camera else ''
            # relative where possible, so that relative names can be remapped
            above = '' if namespace == self.node.get_namespace() else f'{namespace.rstrip("/")}/'
            name = f'{namespace}/{camera}'.strip('/') or 'camera'
            print(f'showing {name}: {namespace.rstrip("/")}/{below}depth/image', flush=True)
            stream = Stream(self.node, self.screen, name, above + below)
            self.streams[namespace, camera] = stream
        return self.streams[namespace, camera]

    @staticmethod
    def _listen(stream: Stream, camera: str, status: DiagnosticStatus) -> None:
        values = {value.key: value.value for value in status.values}
        below = f'topic {camera}/' if camera else 'topic '
        image = values.get(f'{below}image') or values.get(f'{below}image/compressed', '')
        info = values.get(f'{below}camera_info', '')
        stream.listen(image, info, status.message)

    def _tick(self) -> None:
        now_s = time.monotonic()
        is_late = not self.streams and now_s - self._started_s > PATIENCE_S
        if is_late and self._reported != self._others:
            self._reported = set(self._others)
            where = f' in namespace {self.namespace}' if self.namespace else ''
            other = f'; there is one in {", ".join(sorted(self._others))}' if self._others else ''
            count = self.node.count_publishers('/diagnostics')
            print(
                f'waiting for a depth_node{where}: none has reported on /diagnostics ({count} '
                f'publisher{"s" if count != 1 else ""}){other}. Is it running and configured, '
                'with the same ROS_DOMAIN_ID?',
                file=sys.stderr,
                flush=True,
            )
        for stream in self.streams.values():
            stream.refresh()
            reason = stream.silence(now_s)
            if reason and _without_numbers(reason) != _without_numbers(stream.reported):
                print(f'{stream.name}: {reason}', file=sys.stderr, flush=True)
                self.screen.tell(stream.name, reason, stream.stamp_ns, level='WARN')
            elif stream.reported and not reason:
                print(f'{stream.name}: depth arrives', file=sys.stderr, flush=True)
            stream.reported = reason


def watch(screen: Screen, namespace: str = '', remaps: Sequence[str] = ()) -> None:
    """Show running nodes until SIGINT or SIGTERM.

    Args:
        screen: shows what arrives.
        namespace: of the nodes; '' for any.
        remaps: FROM:=TO, as the nodes have them.
    """
    namespace = f'/{namespace.strip("/")}' if namespace else ''
    words = [word for rule in remaps for word in ('-r', rule)]
    fastdds.prepare()
    if not init(['--ros-args', *words]):
        return
    executor: Any = SingleThreadedExecutor()
    node = Node(f'depth_view_{os.getpid()}', namespace=namespace or None)
    try:
        LiveView(node, screen, namespace)
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():
            raise  # otherwise the shutdown came in the middle of a callback
    finally:
        executor.shutdown()
        shutdown(node)
