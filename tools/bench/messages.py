# SPDX-License-Identifier: Apache-2.0
"""Last stages: filling, serialising and publishing messages; and all stages together.

The latter is from an image message to a cloud message.
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
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from depth_ros.core import encode
from depth_ros.core.errors import DepthRosError
from depth_ros.core.types import DepthMap, Frame, Kind
from depth_ros.messages.images import Upload
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.settings import Points, ScalingSettings, Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.device import DTYPES, choose_precision
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph
from depth_ros.ros.outputs.demand import Demand
from depth_ros.ros.outputs.message_buffer import MessageBuffer
from depth_ros.ros.outputs.messages import cloud_message, image_message
from depth_ros.ros.outputs.publishers import Outputs
from depth_ros.ros.process import fastdds
from tools.bench import random_weights
from tools.bench.options import Options
from tools.bench.timing import Copier, stage_row, synchronizer, time_interleaved
from tools.demo.processes import Child, environment, stop

BUDGET_S = 0.4
PUBLISH_S = 1.5
PACE_S = 1 / 30


def rows(depth: DepthMap, width: int, height: int) -> list[dict[str, Any]]:
    """Time filling, serialising and publishing a depth image and a full cloud.

    Filling from a GPU includes the download. Publishing includes serialisation and writing to
    shared memory; the transport to the subscriber is measured by part `transport`.
    """
    rows = []
    points = encode.cloud(depth)
    for name, tensor, topic in (
        ('depth image', depth.z, 'depth/image'),
        ('cloud', points, 'points'),
    ):
        buffer, size = MessageBuffer(), 4 * tensor.numel()
        height, width_ = tensor.shape[:2]
        if tensor is depth.z:
            message = image_message(Header(), height, width_, '32FC1', 4 * width_)
        else:
            message = cloud_message(Header(), height, width_)
        kind = type(message)
        wait = synchronizer(tensor.device)
        buffer.copy_from(tensor)
        wait()
        buffer.give_to(message)  # from now on the buffer is filled in place
        fill = {'stage': lambda b=buffer, t=tensor: b.copy_from(t), 'memcpy': Copier(size)}
        serialise = {'stage': lambda m=message: serialize_message(m), 'memcpy': Copier(size)}
        timed = {
            f'fill {name}': time_interleaved(fill, budget_s=BUDGET_S, wait=wait),
            f'serialise {name}': time_interleaved(serialise, budget_s=BUDGET_S),
        }
        with publisher(kind, topic) as send:
            publish = {'stage': lambda m=message, s=send: s(m), 'memcpy': Copier(size)}
            timed[f'publish {name}'] = time_interleaved(
                publish, budget_s=PUBLISH_S, pause_s=PACE_S
            )
        rows += [stage_row(stage, width, height, size, times) for stage, times in timed.items()]
    return rows


def whole(frame: Frame, preset: str, options: Options) -> dict[str, Any]:
    """Time all stages from an image message to a full, coloured cloud message.

    Frames are processed one after the other; on a GPU the node overlaps them.
    """
    device, (height, width) = options.torch_device, frame.camera.size
    entry = PRESETS[preset]
    precision = choose_precision('auto', device, entry)
    settings = Settings(
        model=preset,
        points=Points(stride=1, organized=True),
        scaling=ScalingSettings(
            method='auto' if entry.kind in (Kind.METRIC, Kind.CANONICAL) else 'constant'
        ),
    )
    model_options = ModelOptions(device=device, dtype=DTYPES[precision], threads=options.threads)
    pipeline = Pipeline(random_weights.load(preset, model_options), settings, device)
    use_cuda_graph(pipeline.model, device)
    image = Image(
        height=height,
        width=width,
        encoding='rgb8',
        step=3 * width,
        data=array('B', frame.rgb.cpu().numpy().tobytes()),
    )
    upload, size = Upload(device), encode.POINT_STEP * height * width
    with temporary_node() as node:
        outputs, demand = Outputs(node, settings), Demand(frozenset({'points'}), True)

        def once() -> None:
            frames = [Frame(upload(image), frame.camera)]
            (depth,) = pipeline.many(frames, pipeline.snapshot)
            if isinstance(depth, DepthRosError):
                raise depth
            list(outputs.complete(outputs.prepare(depth, image.header, demand, settings)))

        times = time_interleaved({'stage': once, 'memcpy': Copier(size)}, budget_s=BUDGET_S)
        outputs.close()
    return stage_row(f'image to cloud: {preset}, {precision}', width, height, size, times)


@contextmanager
def temporary_node() -> Iterator[LifecycleNode]:
    """A node with its own context."""
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
    """The `publish` of a publisher to which the recorder subscribes in another process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        env = environment(out)
        before = dict(os.environ)
        os.environ.update(env)  # also for this process, as for the node
        parameters = {'patience': 3600.0, 'output': out}  # it keeps waiting for a camera
        children = [
            Child('recorder', 'tools.demo.recorder', parameters, out, env, pipe_stdout=True)
        ]
        try:
            with temporary_node() as node:
                result = node.create_publisher(kind, topic, 1)
                end = time.monotonic() + 30
                while not result.get_subscription_count():
                    if time.monotonic() > end:
                        log = json.dumps(children[0].tail(3))
                        raise TimeoutError(f'no subscriber on {topic} within 30 s: {log}')
                    time.sleep(0.05)
                yield result.publish
        finally:
            stop(children)
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)
