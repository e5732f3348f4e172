# SPDX-License-Identifier: Apache-2.0
"""The way of a frame that is measured without ROS makes the bytes of the node's messages."""

import numpy as np
import pytest
import torch
from std_msgs.msg import Header

from depth_ros import models
from depth_ros.core.types import DepthMap, Frame
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.trial_frame import trial_frame
from depth_ros.ros.outputs.demand import Demand
from depth_ros.ros.outputs.publishers import Outputs
from tools.bench import stages
from tools.bench.messages import temporary_node
from tools.demo.processes import own_domain
from tools.gpu.device_path import DevicePath
from tools.gpu.stages import PATHS

DEVICES = ['cpu', pytest.param('cuda:0', marks=pytest.mark.gpu)]


@pytest.fixture(scope='module')
def node():
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv('ROS_DOMAIN_ID', str(own_domain(3)))
        with temporary_node() as node:
            yield node


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('parameters', PATHS.values(), ids=list(PATHS))
def test_the_cloud_has_the_bytes_of_the_message(node, device, parameters):
    device = torch.device(device)
    options = ModelOptions(weights=PRESETS['nano'].source.packaged, device=device)
    model = models.load('nano', options)
    settings = with_values(Settings(model='nano'), parameters)
    frame = trial_frame(device, 64, 48)
    path = DevicePath(model, settings, device, frame.camera)
    message = stages.image(frame, 'rgb8', 3)
    pipeline, outputs = Pipeline(model, settings, device), Outputs(node, settings)
    try:
        rgb = np.frombuffer(message.data, np.uint8).reshape(48, 64, 3).copy()
        seen = Frame(torch.from_numpy(rgb).to(device), frame.camera, 33_000_000)
        (depth,) = pipeline.many([seen], pipeline.snapshot, [pipeline.filters])
        assert isinstance(depth, DepthMap)
        demand = Demand(frozenset({'points'}), True)
        pending = outputs.prepare(depth, Header(), demand, settings)
        ((_, made),) = outputs.complete(pending)
        expected = bytes(made.data)
        assert len(expected) > 16 and bytes(path(message)) == expected
    finally:
        outputs.close()
