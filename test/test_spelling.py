# SPDX-License-Identifier: Apache-2.0
"""Which unknown parameters stop the node, and which are another node's."""

import pytest

from depth_ros.parameters.layers import of_other_nodes, parameters
from depth_ros.parameters.spelling import edits, misspelt

KNOWN = [p.name for p in parameters()]

#: of drivers, Nav2, image_proc, robot_localization and others that share a file with us
FOREIGN = [
    'mode', 'range_min', 'range_max', 'device_id', 'camera', 'camera_name', 'model_path', 'rates',
    'publish_rate', 'frame', 'frame_id_', 'frame_ids', 'base_frame_id', 'weight', 'thread',
    'num_threads', 'image_size', 'image_width', 'min_range', 'max_range', 'precision_mode',
    'log_level', 'scale', 'stride', 'points_stride', 'method', 'date', 'gate',
    'input_topic', 'output_frame', 'transport', 'rectify', 'voxel_layer.z_voxels', 'qos',
    'range.minimum', 'points.topic', 'depth_range', 'depth_scale', 'use_intra_process', 'x',
]  # fmt: skip
#: -> what is meant
MISSPELT = {
    'raet': 'rate',
    'modle': 'model',
    'moddel': 'model',
    'deivce': 'device',
    'Device': 'device',
    'devise': 'device',
    'weigths': 'weights',
    'wieghts': 'weights',
    'camreas': 'cameras',
    'precison': 'precision',
    'accept_license': 'accept_licence',
    'acept_license': 'accept_licence',
    'intrinsic_s': 'intrinsics',
    'image_relibility': 'image_reliability',
    'autostrat': 'autostart',
    'auto_start': 'autostart',
    'frmae_id': 'frame_id',
    'pionts.stride': 'points.stride',
    'point.stride': 'points.stride',
    'points.strid': 'points.stride',
    'points.colour': 'points.color',
    'colorised.max': 'colorized.max',
    'colourised.max': 'colorized.max',
    'scaling.metod': 'scaling.method',
    'range.mn': 'range.min',
    'two_views.min_parralax': 'two_views.min_parallax',
}


@pytest.mark.parametrize('name', FOREIGN)
def test_a_name_that_can_be_another_nodes_does_not_stop_the_node(name):
    assert name not in KNOWN and misspelt(name, KNOWN) is None
    assert name in of_other_nodes([name])


@pytest.mark.parametrize('name', MISSPELT)
def test_a_misspelt_name_stops_the_node(name):
    assert misspelt(name, KNOWN) == MISSPELT[name]
    assert of_other_nodes([name]) == {}


def test_no_parameter_is_a_misspelling():
    for name in KNOWN:
        assert misspelt(name, KNOWN) is None
    assert of_other_nodes(KNOWN) == {}


@pytest.mark.parametrize(
    ('a', 'b', 'count'),
    [
        ('', '', 0), ('', 'abc', 3), ('rate', 'raet', 1), ('rate', 'rte', 1), ('rate', 'rrate', 1),
        ('rate', 'rote', 1), ('min', 'max', 2), ('stride', 'tsrdie', 2), ('abc', 'cab', 2),
    ],
)  # fmt: skip
def test_edits(a, b, count):
    assert edits(a, b) == edits(b, a) == count
