# SPDX-License-Identifier: Apache-2.0
"""A node whose network runs in another engine than torch."""

import importlib.util

import numpy as np
import pytest
from graph import NodeProcess, camera, depth_of, noise
from sensor_msgs.msg import Image

if not importlib.util.find_spec('openvino'):  # importing it would report that to its maker
    pytest.skip('openvino is not installed', allow_module_level=True)
pytest.importorskip('onnxscript', reason='onnxscript is not installed')


def test_the_node_publishes_the_same_depth_and_says_by_what(
    graph, node, source, collect, monkeypatch, tmp_path
):
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(tmp_path / 'cache'))
    depths, cam = collect(Image, 'depth/image'), camera(320, 240)
    node(model='nano')
    expected = depth_of(source.answer(depths, cam, noise(cam)))
    faster = NodeProcess(
        graph, '-r', 'depth/image:=faster/image', name='faster',
        model='nano', engine='openvino', precision='fp32',
    )  # fmt: skip
    try:
        faster.said(' by openvino ')
        faster.said('% from torch in fp32')
        faster.said('listening to')
        found = source.answer(collect(Image, 'faster/image'), cam, noise(cam))
        np.testing.assert_allclose(depth_of(found), expected, rtol=1e-4)
    finally:
        assert faster.stop() == 0, faster.log
