# SPDX-License-Identifier: Apache-2.0
"""The last stages: bytes of messages, serialisation, and the publishing of them to a listener.

And all of them at once, from an image message to a cloud message.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, PointCloud2

from depth_ros.core import encode
from depth_ros.core.errors import DepthRosError
from depth_ros.core.types import DepthMap, Frame, Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.settings import Points, ScalingSettings, Settings
from depth_ros.pipeline.build import DTYPES, choose_precision
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph
from depth_ros.ros.inputs.upload import Upload
from depth_ros.ros.outputs.message_buffer import MessageBuffer
from depth_ros.ros.outputs.publishers import FIELDS, POINT_STEP, Outputs
from depth_ros.ros.process import fastdds
from tools.bench import random_weights
from tools.bench.options import Options
from tools.bench.timing import Copier, stage_row, take_turns, waiter
from tools.demo.processes import Child, environment, stop

BUDGET_S = 0.4
PUBLISH_S = 1.5
PACE_S = 1 / 30


def rows(depth: DepthMap, width: int, height: int) -> list[dict[str, Any]]:
    """Filling, serialising and publishing a depth image and a full cloud.

    Filling from a GPU includes the download. Publishing is what the node waits for: serialisation
    and the writing into shared memory; the way to the subscriber is in part `transport`.
    """
    found = []
    points = encode.cloud(depth)
    for name, tensor, topic in (
        ('depth image', depth.z, 'depth/image'),
        ('cloud', points, 'points'),
    ):
        data, size = MessageBuffer(), 4 * tensor.numel()
        message = _image(depth, data.fill(tensor)) if tensor is depth.z else _cloud(points, data)
        kind = type(message)
        wait = waiter(tensor.device)
        wait()
        data.settle()  # from now on it is written where it is
        fill = {'stage': lambda d=data, t=tensor: d.fill(t), 'memcpy': Copier(size)}
        pack_up = {'stage': lambda m=message: serialize_message(m), 'memcpy': Copier(size)}
        timed = {
            f'fill {name}': take_turns(fill, budget_s=BUDGET_S, wait=wait),
            f'serialise {name}': take_turns(pack_up, budget_s=BUDGET_S),
        }
        with publisher(kind, topic) as send:
            to_all = {'stage': lambda m=message, s=send: s(m), 'memcpy': Copier(size)}
            timed[f'publish {name}'] = take_turns(to_all, budget_s=PUBLISH_S, pause_s=PACE_S)
        found += [stage_row(stage, width, height, size, times) for stage, times in timed.items()]
    return found


class Heard(Outputs):
    """As if somebody listened to the cloud."""

    def watched(self, name: str = '') -> bool:
        """Whether it is the cloud, or any."""
        return name in ('points', '')


def whole(frame: Frame, preset: str, options: Options) -> dict[str, Any]:
    """From an image message to a cloud message, full and coloured, as the worker makes it.

    One frame after the other: on a GPU the node begins the next one meanwhile.
    """
    device, (height, width) = options.torch_device, frame.camera.size
    row = PRESETS[preset]
    precision = choose_precision('auto', device, row)
    settings = Settings(
        model=preset,
        points=Points(stride=1, organized=True),
        scaling=ScalingSettings(
            method='auto' if row.kind in (Kind.METRIC, Kind.CANONICAL) else 'constant'
        ),
    )
    given = ModelOptions(device=device, dtype=DTYPES[precision], threads=options.threads)
    pipeline = Pipeline(random_weights.load(preset, given), settings, device)
    use_cuda_graph(pipeline.model, device)
    image = Image(
        height=height,
        width=width,
        encoding='rgb8',
        step=3 * width,
        data=array('B', frame.rgb.cpu().numpy().tobytes()),
    )
    upload, size = Upload(device), POINT_STEP * height * width
    with lone_node() as node:
        outputs = Heard(node, settings)

        def once() -> None:
            (depth,) = pipeline.many([Frame(upload(image), frame.camera)])
            if isinstance(depth, DepthRosError):
                raise depth
            outputs.settle(outputs.prepare(depth, image.header, settings))

        times = take_turns({'stage': once, 'memcpy': Copier(size)}, budget_s=BUDGET_S)
        outputs.close()
    return stage_row(f'image to cloud: {preset}, {precision}', width, height, size, times)


@contextmanager
def lone_node() -> Iterator[LifecycleNode]:
    """A node in a context of its own."""
    fastdds.prepare()
    context = rclpy.Context()
    rclpy.init(context=context)
    node = LifecycleNode('bench', context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)


@contextmanager
def publisher(kind: type, topic: str) -> Iterator[Any]:
    """A publisher's `publish`, with the demo's recorder subscribed in another process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        env = environment(out)
        before = dict(os.environ)
        os.environ.update(env)  # for this process too, as the node has it
        wanted = {'patience': 3600.0, 'output': out}  # it waits for a camera and listens
        children = [Child('recorder', 'tools.demo.recorder', wanted, out, env, speaks=True)]
        try:
            with lone_node() as node:
                made = node.create_publisher(kind, topic, 1)
                end = time.monotonic() + 30
                while not made.get_subscription_count():
                    if time.monotonic() > end:
                        said = json.dumps(children[0].tail(3))
                        raise TimeoutError(f'no listener on {topic} within 30 s: {said}')
                    time.sleep(0.05)
                yield made.publish
        finally:
            stop(children)
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)


def _image(depth: DepthMap, data: Any) -> Image:
    height, width = depth.camera.size
    return Image(height=height, width=width, encoding='32FC1', step=4 * width, data=data)


def _cloud(points: Any, data: MessageBuffer) -> PointCloud2:
    height, width = points.shape[:2]
    return PointCloud2(
        height=height,
        width=width,
        fields=FIELDS,
        point_step=POINT_STEP,
        row_step=POINT_STEP * width,
        data=data.fill(points),
    )
