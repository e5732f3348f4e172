# SPDX-License-Identifier: Apache-2.0
"""Clouds in the memory of their messages, and when the publishers make and look at what."""

from types import SimpleNamespace as Has

import pytest
import torch
from std_msgs.msg import Header
from torch.utils._python_dispatch import TorchDispatchMode

from depth_ros.core import compress
from depth_ros.core.camera import Camera
from depth_ros.core.types import DepthMap
from depth_ros.parameters.settings import Points, Settings
from depth_ros.pipeline.filters.clouds import thinning
from depth_ros.ros.outputs import events
from depth_ros.ros.outputs.clouds import CloudBuffer
from depth_ros.ros.outputs.demand import Demand
from depth_ros.ros.outputs.publishers import COMPRESSED, Outputs

CAM = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that an operator of torch has made."""

    def __init__(self):
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result._base is None and not operator.is_view:
            self.size = max(self.size, result.numel())
        return result


def filled(points):
    """The x, y, z of a cloud of a wall with a hole, and the largest intermediate tensor."""
    z = torch.full(CAM.size, 2.0)
    z[:8, :8] = torch.nan
    depth = DepthMap(z, CAM, torch.zeros(*CAM.size, 3, dtype=torch.uint8))
    with Largest() as largest:
        message, buffer = CloudBuffer().fill(
            depth, Header(), stride=1, color=True, organized=True, kept=thinning(points)
        )
    assert (message.height, message.width) == CAM.size
    return buffer.floats(*CAM.size, 4)[..., :3], largest.size


def test_an_organised_cloud_is_written_once():
    xyz, largest = filled(Points())
    assert torch.isnan(xyz).any(2).sum() == 64
    assert largest <= CAM.width, 'only rays: no copy of the points, no search for the valid ones'


@pytest.mark.parametrize('voxel', [0.1, 1.0])
def test_an_organised_cloud_loses_the_points_that_are_not_kept(voxel):
    whole, _ = filled(Points())
    xyz, largest = filled(Points(voxel=voxel))
    kept = ~torch.isnan(xyz).any(2)
    assert largest > CAM.width and 0 < kept.sum() < 0.5 * kept.numel()
    assert torch.equal(xyz[kept], whole[kept])


def test_what_is_compressed_delays_no_other_message(monkeypatch):
    order = []
    node = Has(
        create_lifecycle_publisher=lambda kind, topic, qos, **_: Has(
            publish=lambda message: order.append((topic, len(message.data) > 0))
        ),
        resolve_topic_name=lambda name: name,
        get_parameters_by_prefix=lambda prefix: {},
    )
    compressed = compress.compressed
    monkeypatch.setattr(
        compress, 'compressed', lambda *a: order.append('compression') or compressed(*a)
    )
    outputs = Outputs(node, Settings())
    depth = DepthMap(torch.full(CAM.size, 2.0), CAM, torch.zeros(*CAM.size, 3, dtype=torch.uint8))
    wanted = Demand(frozenset({'depth/image', 'points', COMPRESSED}), True)
    outputs.send(outputs.prepare(depth, Header(), wanted, Settings()))
    assert order == [('depth/image', True), ('points', True), 'compression', (COMPRESSED, True)]


def test_rare_events_are_looked_at_for_a_moment_in_each_second(monkeypatch):
    now = 0.0
    monkeypatch.setattr(events.time, 'monotonic', lambda: now)
    group, looks = events.Rarely(), []
    for step in range(301):
        now = 100 + step / 100
        looks.append(group.can_execute(None))
    assert all(looks[:5]) and sum(looks[:100]) <= 6
    assert 10 <= sum(looks) <= 20
    now += 5.0
    assert group.can_execute(None), 'after a wait without an end'
