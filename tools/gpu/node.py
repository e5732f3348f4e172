# SPDX-License-Identifier: Apache-2.0
"""The node on a GPU over DDS: its messages against those of a CPU, and its rate and latency."""

from __future__ import annotations

import os
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from depth_ros.pipeline.trial_frame import trial_frame
from tools.demo.processes import Child, environment, stop
from tools.gpu.worker import Clock, Emit, NotHere

SIZES = ((640, 480), (1280, 720))
TINY_SIZE = (64, 48)
START_S = 40.0  #: for a node to answer
PERIOD_S = 0.1  #: between two images
#: full resolution, as a dense cloud, whose size differs from frame to frame
RULES = ('engine:=torch', 'precision:=fp32', 'points.stride:=1', 'points.organized:=false')
Bytes = NDArray[np.uint8]


def run(job: dict[str, Any], emit: Emit, clock: Clock) -> None:
    """Emit rows of 'node'.

    Raises:
        RuntimeError: the node does not start.
    """
    tiny = job['tiny']
    if job['what'] == 'rate':
        _rate(job, emit, clock)
        return
    width, height = TINY_SIZE if tiny else SIZES[0]
    found = {}
    for device in ('cpu', job['device']):
        patience_s = min(START_S, clock.left_s() + START_S / 2)
        found[device] = messages(job['model'], device, width, height, patience_s)
    expected, given = found['cpu'], found[job['device']]
    for topic in expected:
        emit('node', {'model': job['model'], 'topic': topic, 'size': f'{width}x{height}',
                      **difference(given[topic], expected[topic])})  # fmt: skip


def difference(given: Bytes, expected: Bytes) -> dict[str, Any]:
    """How the data of two messages differ.

    Args:
        given: bytes of float32 values.
        expected: the same from a CPU.
    """
    row: dict[str, Any] = {
        'bytes': len(given),
        'bytes_of_cpu': len(expected),
        'identical': len(given) == len(expected) and bool((given == expected).all()),
    }
    if len(given) == len(expected):
        a, b = given.view(np.float32), expected.view(np.float32)
        both = np.isfinite(a) & np.isfinite(b) & (np.abs(b) > 1e-6)
        relative = np.abs(a[both] - b[both]) / np.abs(b[both])
        row['bytes_that_differ'] = int((given != expected).sum())
        if len(relative):
            row['median_difference_percent'] = float(f'{100 * np.median(relative):.3g}')
            row['largest_difference_percent'] = float(f'{100 * relative.max():.3g}')
    return row


def messages(
    model: str, device: str, width: int, height: int, patience_s: float
) -> dict[str, Bytes]:
    """Data of the depth image and the cloud that a node makes of one image, by topic.

    Args:
        model: preset.
        device: of the node.
        width: of the image [px].
        height: of the image [px].
        patience_s: until both have come [s].

    Raises:
        RuntimeError: they do not come.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        env = environment(out)
        os.environ.update(env)  # also for this process, before rclpy reads it
        node = Child('node', 'depth_ros.ros', [f'model:={model}', f'device:={device}', *RULES],
                     out, env)  # fmt: skip
        try:
            return _answers(node, width, height, patience_s)
        finally:
            stop([node])


def _answers(node: Child, width: int, height: int, patience_s: float) -> dict[str, Bytes]:
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2
    from std_msgs.msg import Header

    from depth_ros.ros.inputs.camera_info import to_message
    from depth_ros.ros.process.fastdds import prepare
    from tools.spun_node import SpunNode

    prepare()
    frame = trial_frame(torch.device('cpu'), width, height)
    camera = SpunNode('gpu_camera')
    got: dict[str, Bytes] = {}
    try:
        for topic, kind in (('depth/image', Image), ('points', PointCloud2)):
            camera.create_subscription(
                kind, topic,
                lambda m, t=topic: got.__setitem__(t, np.frombuffer(m.data, np.uint8).copy()), 1,
            )  # fmt: skip
        images = camera.create_publisher(Image, 'image', 1)
        infos = camera.create_publisher(CameraInfo, 'camera_info', 1)
        message = Image(height=height, width=width, encoding='rgb8', step=3 * width,
                        data=array('B', frame.rgb.numpy().tobytes()))  # fmt: skip
        end = time.monotonic() + patience_s
        while len(got) < 2:
            if time.monotonic() > end or not node.running:
                raise RuntimeError(f'no {"or ".join({"depth/image ", "points "} - {*got})}'
                                   f'within {patience_s:.0f} s: {node.tail(3)}')  # fmt: skip
            stamp = camera.get_clock().now().to_msg()
            message.header = Header(stamp=stamp, frame_id='camera_optical_frame')
            infos.publish(to_message(frame.camera, message.header))
            images.publish(message)
            time.sleep(PERIOD_S)
    finally:
        camera.close()
    return got


def _rate(job: dict[str, Any], emit: Emit, clock: Clock) -> None:
    """Clouds per second and latency of full clouds, at the rate of a camera."""
    from tools.bench.graph import FULL_CLOUD
    from tools.bench.transport import Case, measure

    seconds = 1.0 if job['tiny'] else 3.0
    for width, height in (TINY_SIZE,) if job['tiny'] else SIZES:
        if clock.left_s() < seconds + 2:
            raise NotHere(f'{clock.left_s():.0f} s are left of the step')
        rules = (f'model:={job["model"]}', 'engine:=torch', *FULL_CLOUD)
        case = Case('depth_ros', width, height, 30.0)
        found = measure(case, seconds, torch.device(job['device']), rules)
        if 'failed' in found:
            raise RuntimeError(str(found['failed'])[-600:])
        emit('node', {'model': job['model'], 'topic': 'points, 30 Hz', 'size': f'{width}x{height}',
                      **found})  # fmt: skip
