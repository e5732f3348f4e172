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
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from depth_ros.core import encode
from depth_ros.core.errors import DepthRosError
from depth_ros.core.types import DepthMap, Frame, Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.settings import Points, ScalingSettings, Settings
from depth_ros.pipeline.build import DTYPES, choose_precision
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph
from depth_ros.ros.inputs.images import Upload
from depth_ros.ros.outputs.demand import Demand
from depth_ros.ros.outputs.message_buffer import MessageBuffer
from depth_ros.ros.outputs.messages import POINT_STEP, cloud_message, image_message
from depth_ros.ros.outputs.publishers import Outputs
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
        buffer, size = MessageBuffer(), 4 * tensor.numel()
        height, width_ = tensor.shape[:2]
        if tensor is depth.z:
            message = image_message(Header(), height, width_, '32FC1', 4 * width_)
        else:
            message = cloud_message(Header(), height, width_)
        kind = type(message)
        wait = waiter(tensor.device)
        buffer.copy_from(tensor)
        wait()
        buffer.give_to(message)  # from now on it is written in place
        fill = {'stage': lambda b=buffer, t=tensor: b.copy_from(t), 'memcpy': Copier(size)}
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
        outputs, demand = Outputs(node, settings), Demand(frozenset({'points'}), True)

        def once() -> None:
            frames = [Frame(upload(image), frame.camera)]
            (depth,) = pipeline.many(frames, pipeline.snapshot)
            if isinstance(depth, DepthRosError):
                raise depth
            outputs.complete(outputs.prepare(depth, image.header, demand, settings))

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
        children = [Child('recorder', 'tools.demo.recorder', wanted, out, env, pipe_stdout=True)]
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
