# SPDX-License-Identifier: Apache-2.0
"""Fixtures that need rclpy; without it these tests are skipped, saying so."""

import os

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


#: what is used of tf2_ros
TF = """
from types import SimpleNamespace as Has
KNOWN = {known!r}
class Buffer:
    def can_transform(self, target, source, time):
        return True
    def lookup_transform(self, target, source, time):
        {first}
        x, y, z, qx, qy, qz, qw = KNOWN[target, source]
        pose = Has(translation=Has(x=x, y=y, z=z), rotation=Has(x=qx, y=qy, z=qz, w=qw))
        return Has(transform=pose)
class TransformListener:
    def __init__(self, buffer, node):
        pass
    def unregister(self):
        pass
"""


@pytest.fixture
def tf(tmp_path, monkeypatch):
    """`tf(known, first)`: a tf2_ros for nodes that start from now on.

    `known` is (target, source) -> x y z qx qy qz qw; `first` a statement before each lookup.
    """

    def install(known, first='pass'):
        (tmp_path / 'tf2_ros.py').write_text(TF.format(known=known, first=first))
        monkeypatch.setenv('PYTHONPATH', str(tmp_path), prepend=os.pathsep)

    return install
