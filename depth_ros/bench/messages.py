# SPDX-License-Identifier: Apache-2.0
"""The last stages: bytes of messages, serialisation, and the publishing of them to a listener."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, PointCloud2

from depth_ros import pack
from depth_ros.bench.timing import copier, take_turns, waiter
from depth_ros.data import DepthMap
from depth_ros.demo.processes import Child, environment, stop
from depth_ros.ros import middleware
from depth_ros.ros.outputs import FIELDS, POINT_STEP, Bytes

BUDGET_S = 0.4
PUBLISH_S = 1.5
PACE_S = 1 / 30


def rows(depth: DepthMap, width: int, height: int) -> list[dict[str, Any]]:
    """Filling, serialising and publishing a depth image and a full cloud.

    Filling from a GPU includes the download. Publishing is what the node waits for: serialisation
    and the writing into shared memory; the way to the subscriber is in part `transport`.
    """
    found = []
    points = pack.cloud(depth)
    for name, tensor, topic in (
        ('depth image', depth.z, 'depth/image'),
        ('cloud', points, 'points'),
    ):
        data, size = Bytes(), 4 * tensor.numel()
        message = _image(depth, data.fill(tensor)) if tensor is depth.z else _cloud(points, data)
        kind = type(message)
        wait = waiter(tensor.device)
        fill = {'stage': lambda d=data, t=tensor: d.fill(t), 'memcpy': copier(size)}
        pack_up = {'stage': lambda m=message: serialize_message(m), 'memcpy': copier(size)}
        timed = {
            f'fill {name}': take_turns(fill, budget_s=BUDGET_S, wait=wait),
            f'serialise {name}': take_turns(pack_up, budget_s=BUDGET_S),
        }
        with publisher(kind, topic) as send:
            to_all = {'stage': lambda m=message, s=send: s(m), 'memcpy': copier(size)}
            timed[f'publish {name}'] = take_turns(to_all, budget_s=PUBLISH_S, pause_s=PACE_S)
        for stage, times in timed.items():
            copied = times['memcpy']['median_ms']
            row = {'stage': stage, 'size': f'{width}x{height}', **times['stage']}
            found.append({**row, 'bytes': size, 'memcpy_ms': copied})
    return found


@contextmanager
def publisher(kind: type, topic: str) -> Iterator[Any]:
    """A publisher's `publish`, with the demo's recorder subscribed in another process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        env = environment(out)
        before = dict(os.environ)
        os.environ.update(env)  # for this process too, as the node has it
        middleware.prepare()
        wanted = {'patience': 3600.0, 'output': out}  # it waits for a camera and listens
        children = [Child('recorder', 'depth_ros.demo.recorder', wanted, out, env, speaks=True)]
        context = rclpy.Context()
        rclpy.init(context=context)
        node = rclpy.create_node('bench', context=context)
        try:
            made = node.create_publisher(kind, topic, 1)
            end = time.monotonic() + 30
            while not made.get_subscription_count():
                if time.monotonic() > end:
                    said = json.dumps(children[0].tail(3))
                    raise TimeoutError(f'no listener on {topic} within 30 s: {said}')
                time.sleep(0.05)
            yield made.publish
        finally:
            node.destroy_node()
            rclpy.try_shutdown(context=context)
            stop(children)
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)


def _image(depth: DepthMap, data: Any) -> Image:
    height, width = depth.camera.size
    return Image(height=height, width=width, encoding='32FC1', step=4 * width, data=data)


def _cloud(points: Any, data: Bytes) -> PointCloud2:
    height, width = points.shape[:2]
    return PointCloud2(
        height=height,
        width=width,
        fields=FIELDS,
        point_step=POINT_STEP,
        row_step=POINT_STEP * width,
        data=data.fill(points),
    )
