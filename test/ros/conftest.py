# SPDX-License-Identifier: Apache-2.0
"""Fixtures that need rclpy; without it these tests are skipped, saying so."""

import pytest

pytest.importorskip(
    'rclpy', reason='rclpy is not installed: pip install .[ros], or source a ROS 2 setup'
)

from graph import Gate, Graph, NodeProcess, Source

from depth_ros.parameters import layers


@pytest.fixture(scope='session')
def graph():
    """One graph for all tests, in a separate domain."""
    graph = Graph()
    yield graph
    graph.close()


@pytest.fixture(scope='session')
def one_gate(tmp_path_factory):
    return Gate(tmp_path_factory.mktemp('gate') / 'shut')


@pytest.fixture
def gate(one_gate):
    """Stops the network of `fake_gated`; open at first and at the end."""
    yield one_gate
    one_gate.open()


@pytest.fixture(scope='module')
def process(graph, one_gate):
    """depth_node, waiting to be configured."""
    process = NodeProcess(graph, autostart=False)
    yield process
    assert process.stop() == 0, process.log


@pytest.fixture
def node(process):
    """The module's node with `start(**parameters)`: defaults everywhere else, active."""

    def start(**parameters):
        defaults = {p.name.replace('.', '__'): p.default for p in layers.parameters()}
        defaults |= {'model': 'fake_red', 'autostart': False}
        process.restart(**{**defaults, **parameters})
        return process

    return start


@pytest.fixture
def source(graph):
    """A camera driver with reliable topics."""
    source = Source(graph)
    yield source
    source.close()


@pytest.fixture
def collect(graph):
    """`collect(kind, topic)`, undone afterwards."""
    made = []

    def collect(*args, **kw):
        made.append(graph.collect(*args, **kw))
        return made[-1]

    yield collect
    for received in made:
        received.close()
