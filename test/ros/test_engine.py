# SPDX-License-Identifier: Apache-2.0
"""A node whose network runs in another engine than torch."""

import contextlib
import importlib.util
import signal
from pathlib import Path

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


def trials():
    """Processes that measure engines."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if 'depth_ros.pipeline.engines.trial' in path.read_text():
                found.append(path.parent.name)
    return set(found)


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGKILL])
def test_a_node_that_ends_while_engines_are_measured_leaves_no_process(
    graph, node, monkeypatch, tmp_path, number
):
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('DEPTH_ROS_ENGINE', 'auto')
    before = trials()
    measuring = NodeProcess(graph, name='measuring', model='nano')
    measuring.said('measuring for up to')
    graph.wait(lambda: trials() - before, 'process that measures')
    measuring.process.send_signal(number)
    assert measuring.process.wait(20) == {signal.SIGINT: 0, signal.SIGKILL: -9}[number]
    graph.wait(lambda: not trials() - before, 'end of the process that measures', 30)


@pytest.mark.slow
def test_a_node_chooses_once_and_says_what(graph, node, monkeypatch, tmp_path):
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('DEPTH_ROS_ENGINE', 'auto')
    for name, measures in (('first', True), ('second', False)):
        choosing = NodeProcess(graph, name=name, model='nano')
        try:
            choosing.said('the fastest of')
            assert ('measuring for up to' in choosing.log) == measures
        finally:
            assert choosing.stop() == 0, choosing.log
