# SPDX-License-Identifier: Apache-2.0
"""Node that subscribes to the outputs and records arrivals and some frames.

In two phases, so that comparing frames does not disturb the timing: first arrivals are timed, then
image and exact depth are subscribed too and some frames are stored. The state is printed as one
JSON object per line, for `python -m tools.demo`.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depth_ros.core.stamps import nanoseconds
from depth_ros.messages.images import to_rgb
from depth_ros.ros.process.fastdds import prepare
from depth_ros.ros.process.init import init, shutdown
from depth_ros.ros.process.malloc import keep_freed_memory
from tools.demo.measure import ArrivalLog

OUTPUTS = ('depth/image', 'depth/camera_info', 'points')
PARAMETERS = {
    'seconds': 10.0,  # duration of the timing
    'patience': 60.0,  # maximum time until the first depth image and cloud
    'output': 'demo',  # folder
    'compare': 10,  # number of frames to compare
}
WARM_UP_S = 1.0
MIN_INTERVAL_NS = 250_000_000  # between compared frames, so that they differ
MAX_BYTES = 256 << 20  # of each kind of message that waits for the others of its stamp


class Recorder(Node):
    """Counts, times and compares the messages that arrive; see `run`."""

    def __init__(self) -> None:
        super().__init__('demo_recorder')
        values = {n: self.declare_parameter(n, d).value for n, d in PARAMETERS.items()}
        self.seconds, self.patience = values['seconds'], values['patience']
        self.output, self.compare = Path(values['output']), values['compare']
        self.sent: list[int] = []
        self.camera: CameraInfo | None = None
        self.logs = {name: ArrivalLog() for name in OUTPUTS}
        self.pending: dict[str, OrderedDict[int, Any]] = {}
        self.compared: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self.snapshot: dict[str, Any] | None = None
        # best effort matches every publisher; small messages are hardly lost
        small = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(CameraInfo, 'camera_info', self._on_camera, small)
        for name, kind in zip(OUTPUTS, (Image, CameraInfo, PointCloud2), strict=True):
            self.create_subscription(kind, name, lambda m, name=name: self._on_output(name, m), 5)

    def run(self) -> int:
        """Wait, time, compare and write; returns the exit status."""
        executor = SingleThreadedExecutor()
        executor.add_node(self)

        def until(stage: str, limit_s: float, ready: Any) -> bool:
            start = printed = time.monotonic()
            while not ready():
                now = time.monotonic()
                if now - start > limit_s:
                    return False
                if now >= printed:
                    self._print_state(stage, now - start)
                    printed = now + 0.25
                executor.spin_once(timeout_sec=0.1)
            return True

        watch = NodeWatch(self)
        until('waiting', self.patience, lambda: not self._missing() or watch.refused())
        if self._missing():
            print(json.dumps({'missing': self._missing(), 'refused': watch.refused()}), flush=True)
            return 1
        watch.close()
        until('warming up', WARM_UP_S, lambda: False)
        first = len(self.sent)
        until('measuring', self.seconds, lambda: False)
        window = self.sent[first:]
        self._print_state('comparing', 0.0)  # ends the measurement for those who read this
        self._subscribe_images()
        until('comparing', 5 + self.seconds, self._enough_compared)
        self._write(window)
        return 0 if all(self.logs[n].report(window)['received'] for n in OUTPUTS) else 1

    def _on_camera(self, message: CameraInfo) -> None:
        self.sent.append(stamp_ns(message))
        self.camera = message

    def _on_output(self, name: str, message: Any) -> None:
        self.logs[name].add(stamp_ns(message), self.get_clock().now().nanoseconds)
        if self.pending:
            self._keep(name, message)

    def _missing(self) -> list[str]:
        silent = [name for name in OUTPUTS if not self.logs[name].arrivals]
        return silent if self.sent else ['camera_info', *silent]

    def _print_state(self, stage: str, seconds: float) -> None:
        counts = {name: len(log.arrivals) for name, log in self.logs.items()}
        state = {'stage': stage, 'seconds': round(seconds, 1), 'camera': len(self.sent), **counts}
        print(json.dumps({**state, 'missing': self._missing()}), flush=True)

    def _subscribe_images(self) -> None:
        self.pending = {n: OrderedDict() for n in ('image', 'true_depth', 'depth/image', 'points')}
        for name in ('image', 'true_depth'):
            offers = [p.qos_profile.reliability for p in self.get_publishers_info_by_topic(name)]
            reliable = ReliabilityPolicy.RELIABLE
            policy = reliable if set(offers) <= {reliable} else ReliabilityPolicy.BEST_EFFORT
            qos = QoSProfile(depth=5, reliability=policy)
            self.create_subscription(Image, name, lambda m, name=name: self._keep(name, m), qos)

    def _keep(self, name: str, message: Any) -> None:
        """Store a message until the others of its stamp have arrived, then compare them."""
        if name not in self.pending:
            return
        stamp, pending = stamp_ns(message), self.pending[name]
        pending[stamp] = message
        while len(pending) > 1 and len(pending) * len(message.data) > MAX_BYTES:
            pending.popitem(last=False)
        if not all(stamp in messages for messages in self.pending.values()):
            return
        frame = {n: messages.pop(stamp) for n, messages in self.pending.items()}
        if self.snapshot and stamp - stamp_ns(self.snapshot['image']) < MIN_INTERVAL_NS:
            return
        depth, truth = depth_of(frame['depth/image']), depth_of(frame['true_depth'])
        if depth.shape == truth.shape:
            self.snapshot = frame
            self.compared.append((depth, truth))

    def _enough_compared(self) -> bool:
        return len(self.compared) >= self.compare

    def _write(self, window: list[int]) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        received = set().union(*(log.arrivals for log in self.logs.values()))
        summary: dict[str, Any] = {
            'camera': {
                'size': f'{self.camera.width}x{self.camera.height}' if self.camera else None,
                'frames': len(window),
                'rate_hz': ArrivalLog({s: s for s in window}).report(window)['rate_hz'],
                'skipped_by_node': sum(stamp not in received for stamp in window),
            },
            'outputs': {name: log.report(window) for name, log in self.logs.items()},
        }
        (self.output / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
        if self.snapshot:
            self._save_arrays(self.snapshot, window)

    def _save_arrays(self, frame: dict[str, Any], window: list[int]) -> None:
        """Save depth and truth of all compared frames, and all data of the last one."""
        points, colours = points_of(frame['points'])
        np.savez(
            self.output / 'snapshot.npz',
            depth=np.stack([depth for depth, _ in self.compared]),
            truth=np.stack([truth for _, truth in self.compared]),
            rgb=to_rgb(frame['image']),
            points=points,
            colours=colours,
            sent=(np.array(window) - (window or [0])[0]) / 1e9,
            **{f'timeline {n}': self.logs[n].timeline(window) for n in OUTPUTS[::2]},
        )


class NodeWatch:
    """Polls the lifecycle state of depth_node; if it stays unconfigured, configuring failed.

    Args:
        node: that calls the service.
    """

    def __init__(self, node: Node) -> None:
        self._node, self._client = node, node.create_client(GetState, 'depth_node/get_state')
        self._asked, self._unconfigured = 0.0, 0

    def refused(self) -> bool:
        """Whether the last three states, about a second apart, were "unconfigured"."""
        if time.monotonic() - self._asked > 1.0 and self._client.service_is_ready():
            self._asked = time.monotonic()
            self._client.call_async(GetState.Request()).add_done_callback(self._on_state)
        return self._unconfigured >= 3

    def close(self) -> None:
        """Stop polling."""
        self._node.destroy_client(self._client)

    def _on_state(self, future: Future) -> None:
        state = future.result().current_state.id
        unconfigured = state == State.PRIMARY_STATE_UNCONFIGURED
        self._unconfigured = self._unconfigured + 1 if unconfigured else 0


def stamp_ns(message: Any) -> int:
    """Header stamp [ns]."""
    return nanoseconds(message.header.stamp)


def depth_of(message: Image) -> NDArray[np.float32]:
    """Depth (H, W) [m] of a 32FC1 image, or of 16UC1 millimetres with 0 for invalid."""
    kind = np.uint16 if message.encoding == '16UC1' else np.float32
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    raw = rows.view(kind)[:, : message.width]
    return np.where(raw == 0, np.nan, raw * np.float32(1e-3)) if kind is np.uint16 else raw


def points_of(message: PointCloud2) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Points (N, 3) [m] and colours (N, 3) uint8, white if the cloud has no rgb field."""
    offsets = {f.name: f.offset for f in message.fields}
    raw = np.frombuffer(message.data, np.uint8).reshape(-1, message.point_step)
    column = lambda name: raw[:, offsets[name] : offsets[name] + 4].copy()  # noqa: E731
    points = np.hstack([column(axis).view(np.float32) for axis in 'xyz'])
    finite = np.isfinite(points).all(1)
    if 'rgb' not in offsets:
        return points[finite], np.full((int(finite.sum()), 3), 255, np.uint8)
    return points[finite], column('rgb')[finite, 2::-1]  # little-endian 0x00RRGGBB


def main() -> int:
    """Run the recorder; returns the exit status, 0 if every output arrived."""
    keep_freed_memory()
    prepare()
    if not init():
        return 130
    node = Recorder()
    try:
        return node.run()
    except ExternalShutdownException:
        return 130
    finally:
        shutdown(node)


if __name__ == '__main__':
    raise SystemExit(main())
