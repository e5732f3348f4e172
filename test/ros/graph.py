# SPDX-License-Identifier: Apache-2.0
"""A real ROS graph for the tests: this process, and nodes in other processes."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
from builtin_interfaces.msg import Time
from forked import Forked
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from depth_ros.core.camera import Camera
from depth_ros.core.stamps import nanoseconds  # noqa: F401  (for the tests)
from depth_ros.ros.process import fastdds
from tools.demo.processes import own_domain
from tools.spun_node import SpunNode

FRAME = 'camera_optical_frame'
UNCONFIGURED, INACTIVE, ACTIVE = 1, 2, 3


def camera(width: int = 320, height: int = 240, hfov_deg: float = 60.0) -> Camera:
    """A pinhole with square pixels and a principal point off the centre."""
    f = width / 2 / np.tan(np.radians(hfov_deg / 2))
    return Camera(width, height, f, f, width / 2 + 3.5, height / 2 - 2.25)


def header(stamp_ns: int, frame_id: str = FRAME) -> Header:
    stamp = Time(sec=int(stamp_ns // 10**9), nanosec=int(stamp_ns % 10**9))
    return Header(stamp=stamp, frame_id=frame_id)


def image(rgb: np.ndarray, stamp_ns: int, encoding: str = 'rgb8', frame_id: str = FRAME) -> Image:
    rgb = np.ascontiguousarray(rgb)
    message = Image(header=header(stamp_ns, frame_id), encoding=encoding)
    message.height, message.width = rgb.shape[:2]
    message.step = rgb.strides[0]
    message.data = array.array('B', rgb.tobytes())
    return message


def info(cam: Camera, stamp_ns: int, frame_id: str = FRAME, rectified: bool = False) -> CameraInfo:
    fx, fy, cx, cy = map(float, (cam.fx, cam.fy, cam.cx, cam.cy))
    k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    message = CameraInfo(
        header=header(stamp_ns, frame_id), width=cam.width, height=cam.height, k=k
    )
    message.d = [*map(float, cam.distortion)]
    message.distortion_model = cam.distortion_model
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    if rectified:
        message.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def noise(cam: Camera, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*cam.size, 3), np.uint8)


def depth_of(message: Image) -> np.ndarray:
    """A 32FC1 image as an array."""
    assert message.encoding == '32FC1' and not message.is_bigendian
    assert message.step == message.width * 4 and len(message.data) == message.step * message.height
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


def points_of(message) -> np.ndarray:
    """A cloud as (height, width, 4) float32: x y z rgb."""
    assert message.point_step == 16 and not message.is_bigendian
    assert message.row_step == 16 * message.width
    assert len(message.data) == message.row_step * message.height
    assert [f.offset for f in message.fields] == [0, 4, 8, 12][: len(message.fields)]
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width, 4)


class Graph:
    """rclpy in this process, spun by a thread."""

    def __init__(self) -> None:
        # a separate domain, on this machine only; children inherit it
        os.environ['ROS_DOMAIN_ID'] = str(own_domain())
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        fastdds.prepare()
        self.node = SpunNode('tester')

    def close(self) -> None:
        self.node.close()

    def publisher(self, kind, topic: str, reliability: str = 'reliable', depth: int = 10):
        return self.node.create_publisher(kind, topic, qos(reliability, depth))

    def collect(
        self, kind, topic: str, reliability: str = 'reliable', depth: int = 50
    ) -> Received:
        return Received(self, kind, topic, qos(reliability, depth))

    def wait(self, condition, what: str, timeout: float = 60.0):
        """Poll until `condition()` is true and return it."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            result = condition()
            if result:
                return result
            assert self.node.spins, 'the thread that receives messages has ended'
            time.sleep(0.005)
        raise AssertionError(f'waited {timeout} s in vain: {what}')


class Caller:
    """A client of a service.

    An answer is lost if the service does not know its reader yet. So a request is made again where
    asking twice does no harm. Where it does, a request that is always refused goes first: once it
    is answered, the two know each other.
    """

    def __init__(self, graph: Graph, kind, name: str) -> None:
        self.graph, self.kind, self.name = graph, kind, name
        self.client = graph.node.create_client(kind, name)
        self.has_met = False

    def __call__(self, request, timeout: float = 60.0):
        assert self.client.wait_for_service(timeout), f'no service {self.name}'
        if self.kind is not ChangeState:
            return self._ask_again(request, timeout)
        if not self.has_met:
            nowhere = ChangeState.Request(transition=Transition(label='nowhere'))
            assert not self._ask_again(nowhere, timeout).success
            self.has_met = True
        return self._ask(request, timeout)

    def _ask_again(self, request, timeout: float):
        for patience in (2.0, 10.0):
            try:
                return self._ask(request, patience)
            except AssertionError:
                pass
        return self._ask(request, timeout)

    def _ask(self, request, timeout: float):
        future = self.client.call_async(request)
        self.graph.wait(future.done, f'answer of {self.name}', timeout)
        return future.result()

    def close(self) -> None:
        self.graph.node.destroy_client(self.client)


class Received(list):
    """Messages of a topic in order of arrival."""

    def __init__(self, graph: Graph, kind, topic: str, profile: QoSProfile) -> None:
        super().__init__()
        self.graph = graph
        self.times: list[float] = []
        self.subscription = graph.node.create_subscription(kind, topic, self._got, profile)

    def _got(self, message) -> None:
        self.times.append(time.monotonic())
        self.append(message)

    def stamped(self, stamp_ns: int):
        """The message of this stamp, or None."""
        wanted = header(stamp_ns).stamp
        return next((m for m in list(self) if m.header.stamp == wanted), None)

    def close(self) -> None:
        self.graph.node.destroy_subscription(self.subscription)


class Gate:
    """While it is shut, the networks of `fake_gated` wait in mid-inference."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.environ['GATE'] = str(path)  # for the nodes that start from now on

    @property
    def reached(self) -> bool:
        """Whether a network has waited since it was shut."""
        return self.path.with_suffix('.reached').exists()

    def shut(self) -> None:
        self.path.with_suffix('.reached').unlink(missing_ok=True)
        self.path.touch()

    def open(self) -> None:
        self.path.unlink(missing_ok=True)


def qos(reliability: str, depth: int) -> QoSProfile:
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy[reliability.upper()])


class NodeProcess:
    """depth_node in another process, its log and its services."""

    def __init__(
        self, graph: Graph, *arguments: str, name: str = 'depth_node', **parameters
    ) -> None:
        self.graph = graph
        self.name = name
        words = ['--ros-args', *arguments, '-r', f'__node:={name}']
        for parameter, value in parameters.items():
            words += ['-p', f'{parameter.replace("__", ".")}:={value}']
        self.process = Forked('node_with_fakes', *words)
        self.lines = self.process.lines
        self._callers: dict[str, Caller] = {}

    def _call(self, kind, service: str, request):
        name = f'/{self.name}/{service}'
        if service not in self._callers:
            self._callers[service] = Caller(self.graph, kind, name)
        try:
            return self._callers[service](request)
        except AssertionError as error:
            raise AssertionError(f'{error}; the log is:\n{self.log}') from None

    @property
    def log(self) -> str:
        return self.process.log

    def said(self, text: str, timeout: float = 90.0, since: int = 0) -> None:
        try:
            self.graph.wait(lambda: text in ''.join(self.lines[since:]), f'log {text!r}', timeout)
        except AssertionError as error:
            raise AssertionError(f'{error}; the log is:\n{self.log}') from None

    def stop(self, patience_s: float = 20) -> int:
        while self._callers:
            self._callers.popitem()[1].close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise AssertionError(f'the node did not stop; its log:\n{self.log}') from None
        return self.process.returncode

    def set(self, **parameters) -> list[str]:
        """Set parameters (a__b is a.b); the reasons of those refused."""
        values = [Parameter(n.replace('__', '.'), value=v) for n, v in parameters.items()]
        request = SetParameters.Request(parameters=[v.to_parameter_msg() for v in values])
        answer = self._call(SetParameters, 'set_parameters', request)
        return [r.reason for r in answer.results if not r.successful]

    def get(self, *names: str) -> list:
        request = GetParameters.Request(names=list(names))
        answer = self._call(GetParameters, 'get_parameters', request)
        return [
            Parameter.from_parameter_msg(type('P', (), {'name': n, 'value': v})).value
            for n, v in zip(names, answer.values, strict=True)
        ]

    def names(self) -> list[str]:
        answer = self._call(ListParameters, 'list_parameters', ListParameters.Request())
        return list(answer.result.names)

    @property
    def state(self) -> int:
        answer = self._call(GetState, 'get_state', GetState.Request())
        return answer.current_state.id

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return self._call(ChangeState, 'change_state', request).success

    def configure(self) -> bool:
        return self.change(Transition.TRANSITION_CONFIGURE)

    def restart(self, **parameters) -> None:
        """Down to unconfigured, new parameters, up to active."""
        assert self.process.poll() is None, self.log
        state = self.state
        if state == ACTIVE:
            assert self.change(Transition.TRANSITION_DEACTIVATE)
        if state in (ACTIVE, INACTIVE):
            assert self.change(Transition.TRANSITION_CLEANUP)
        refused = self.set(**parameters)
        assert not refused, refused
        assert self.configure(), self.log
        assert self.change(Transition.TRANSITION_ACTIVATE)


class Source:
    """A camera driver: an image topic, its camera_info, and stamps that increase."""

    def __init__(
        self,
        graph: Graph,
        reliability: str = 'reliable',
        topic: str = 'image',
        info: str = 'camera_info',
        kind: type = Image,
    ) -> None:
        self.graph = graph
        self.images = graph.publisher(kind, topic, reliability)
        self.infos = graph.publisher(CameraInfo, info, reliability)
        self.stamp_ns = time.time_ns()

    def ready(self) -> None:
        """Wait until the node listens to both."""
        self.graph.wait(
            lambda: self.images.get_subscription_count() and self.infos.get_subscription_count(),
            'the node to subscribe',
        )

    def send(
        self, cam: Camera, rgb=None, period_ns: int = 33_333_333, encoding: str = 'rgb8', **kw
    ) -> int:
        """Publish one picture and its camera_info; the stamp."""
        self.stamp_ns += period_ns
        self.infos.publish(info(cam, self.stamp_ns, **kw))
        rgb = noise(cam) if rgb is None else rgb
        self.images.publish(image(rgb, self.stamp_ns, encoding))
        return self.stamp_ns

    def send_until(self, condition, what: str, cam: Camera, **kw) -> None:
        """Publish ten times a second until it is true: the first few may find no listener yet.

        A count of subscriptions is no proof: the node subscribes again when it knows our QoS.
        """
        self.graph.wait(
            lambda: self.send(cam, **kw) and (condition() or time.sleep(0.1)), what, 90.0
        )

    def answer(self, received, cam: Camera, rgb=None, tries: int = 40, **kw):
        """Publish until one stamp came back on `received`, one or a list; that or those."""
        wanted = received if type(received) is list else [received]
        self.ready()
        stamps = []

        def complete():
            for stamp in stamps:
                messages = [r.stamped(stamp) for r in wanted]
                if all(m is not None for m in messages):
                    return messages
            return None

        for _ in range(tries):
            stamps.append(self.send(cam, rgb, **kw))
            try:
                messages = self.graph.wait(complete, 'answer', 2.0)
            except AssertionError:
                continue
            return messages if type(received) is list else messages[0]
        raise AssertionError(
            f'{tries} images, no answer on {[r.subscription.topic_name for r in wanted]}'
        )

    def close(self) -> None:
        self.graph.node.destroy_publisher(self.images)
        self.graph.node.destroy_publisher(self.infos)
