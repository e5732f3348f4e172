# SPDX-License-Identifier: Apache-2.0
"""config/depth.foxglove.json: its structure, and that a node publishes all that it names."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from graph import NodeProcess, camera, header
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, Range

LAYOUT = json.loads((Path(__file__).parents[2] / 'config/depth.foxglove.json').read_text())
PANELS = LAYOUT['configById']
#: fields of exported layouts that are used, by the part they are in
FIELDS = {
    '3D': 'foxglovePanelTitle fixedFrame followTf followMode cameraState scene transforms layers '
    'topics',
    'Image': 'foxglovePanelTitle imageMode',
    'Plot': 'foxglovePanelTitle paths xAxisVal showLegend legendDisplay showPlotValuesInLegend '
    'showXAxisLabels showYAxisLabels isSynced',
    'DiagnosticSummary': 'foxglovePanelTitle topicToRender hardwareIdFilter minLevel pinnedIds '
    'sortByLevel',
    'imageMode': 'imageTopic calibrationTopic colorMode colorMap minValue maxValue overlayTopics',
    'paths': 'value label enabled timestampMethod showLine',
    'overlayTopics': 'id topic visible order opacity blendMode',
    'cameraState': 'perspective distance phi target targetOffset targetOrientation thetaOffset '
    'fovy near far',
}


def panels(node):
    """Names of panels in the arrangement, in order."""
    if isinstance(node, str):
        return [node]
    assert set(node) == {'first', 'second', 'direction', 'splitPercentage'}
    assert node['direction'] in ('row', 'column') and 0 < node['splitPercentage'] < 100
    return panels(node['first']) + panels(node['second'])


def parts(kind, config):
    """(part, fields) of a panel, and of what is in it."""
    yield kind, config
    for name, value in config.items():
        for one in value if isinstance(value, list) else [value]:
            if name in FIELDS and isinstance(one, dict):
                yield from parts(name, one)


def test_it_has_the_structure_of_an_exported_layout():
    assert set(LAYOUT) == {
        'configById',
        'globalVariables',
        'userNodes',
        'playbackConfig',
        'layout',
    }
    assert sorted(panels(LAYOUT['layout'])) == sorted(PANELS)
    for name, config in PANELS.items():
        kind, mark, number = name.partition('!')
        assert mark and number.isalnum()
        for part, fields in parts(kind, config):
            unknown = set(fields) - set(FIELDS[part].split())
            assert not unknown, (name, part)
    assert {name.partition('!')[0] for name in PANELS} == {
        '3D', 'Image', 'Plot', 'DiagnosticSummary',
    }  # fmt: skip
    series = [path for config in PANELS.values() for path in config.get('paths', [])]
    assert len(series) >= 4 and all(path['enabled'] for path in series)


def topics():
    """Every topic that a panel names."""
    found = set()
    for config in PANELS.values():
        found |= {*config.get('topics', {})} | {config.get('topicToRender', '/diagnostics')}
        for name, value in config.get('imageMode', {}).items():
            found |= {value} if name.endswith('Topic') else set()
            found |= {o['topic'] for o in value} if name == 'overlayTopics' else set()
        found |= {path['value'].partition('.')[0] for path in config.get('paths', [])}
    return found


def values(message, path):
    """What a message path of Foxglove gives, for the syntax that the layout has."""
    found = [message]
    for step in re.findall(r'\.(\w+)(\[:\])?((?:\{[^}]*\})*)', path):
        name, is_slice, filters = step
        found = [getattr(one, name) for one in found]
        if is_slice:
            found = [one for several in found for one in several]
        for field, wanted in re.findall(r'\{(\w+)=="([^"]*)"\}', filters):
            found = [one for one in found if getattr(one, field) == wanted]
    return found


@pytest.fixture
def received(graph, source, collect):
    """A node with a scale by anchors: topic -> its messages."""
    kinds = {
        '/points': PointCloud2, '/depth/image': Image, '/depth/colorized': Image,
        '/depth/camera_info': CameraInfo, '/depth/scale': DiagnosticArray,
        '/diagnostics': DiagnosticArray,
    }  # fmt: skip
    messages = {topic: collect(kind, topic) for topic, kind in kinds.items()}
    ranges = graph.publisher(Range, 'anchors/range')
    process = NodeProcess(
        graph, model='fake_scale_invariant', scaling__method='anchors',
        anchors__sources='[range]', anchors__range__pose='[0.0, 0.0, 0.0, 0.5, -0.5, 0.5, 0.5]',
    )  # fmt: skip

    def complete():
        beam = Range(header=header(source.stamp_ns), field_of_view=0.3, range=4.0)
        beam.min_range, beam.max_range = 0.1, 10.0
        ranges.publish(beam)
        rates = [
            v for m in messages['/diagnostics'] for v in values(m, '.status[:].values[:].key')
        ]
        return 'latency p50 [ms]' in rates and all(messages.values())

    red = np.full((48, 64, 3), 15, np.uint8)
    source.send_until(complete, 'all topics', camera(64, 48), rgb=red)
    yield {**messages, '/image': [None]}
    graph.node.destroy_publisher(ranges)
    assert process.stop() == 0, process.log


def test_the_node_publishes_every_topic_and_field(received):
    assert topics() <= set(received)
    for name, config in PANELS.items():
        for path in config.get('paths', []):
            topic, _, rest = path['value'].partition('.')
            found = values(received[topic][-1], f'.{rest}')
            assert len(found) == 1, (name, path)
            assert np.isfinite(float(found[0])), path
    cloud = PANELS['3D!cloud']['topics']['/points']
    assert cloud['colorField'] in {field.name for field in received['/points'][-1].fields}
    info = received['/depth/camera_info'][-1]
    assert PANELS['3D!cloud']['fixedFrame'] == info.header.frame_id, 'as in depth.rviz'
    assert received['/depth/image'][-1].encoding == '32FC1'
    (hardware,) = {s.hardware_id for m in received['/diagnostics'] for s in m.status}
    assert hardware == PANELS['DiagnosticSummary!node']['hardwareIdFilter']
