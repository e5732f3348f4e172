# SPDX-License-Identifier: Apache-2.0
"""Parameters: declared once, all of them read by something, bad ones refused by name."""

import ast
from pathlib import Path

import pytest
import torch

from depth_ros.core.errors import ConfigError
from depth_ros.models import PRESETS
from depth_ros.parameters import declare, layers, settings
from depth_ros.parameters.declare import OF_NODE
from depth_ros.parameters.layers import parameters, preset_values, with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.abilities import without_effect

PACKAGE = Path(settings.__file__).parents[1]


def attributes_read():
    """Every owner.attribute that the package reads, as (name of the owner, attribute)."""
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                yield getattr(node.value, 'attr', getattr(node.value, 'id', '')), node.attr


def test_every_parameter_is_read_somewhere():
    # the names under which settings, or a group of them, are at hand where they are read
    owners = {
        '': {'settings'},
        'range': {'range'},
        'undistort': {'settings', 'undistort'},
        'filters': {'filters', 'settings'},
        'scaling': {'settings'},
        'points': {'points'},
        'colorized': {'colors'},
        'compressed_depth': {'compressed'},
        'onnx': {'description'},
        'transformers': {'described', '_described', 'transformers'},
        'two_views': {'settings', 'two_views'},
        'anchors': {'anchors', 'settings'},
        **{f'anchors.{name}': {'own'} for name in ('points', 'scan', 'range', 'depth')},
        'floor': {'settings', 'floor'},
        'anchors.odometry': {'odometry'},
    }
    read = set(attributes_read())
    unread = [
        p.name
        for p in parameters()
        for group, _, leaf in [p.name.rpartition('.')]
        if not any((owner, leaf) in read for owner in owners[group])
    ]
    assert not unread


def test_every_number_has_a_range_and_every_parameter_a_description():
    for p in parameters():
        assert p.description.endswith('.'), p.name
        if isinstance(p.default, (int, float)) and not isinstance(p.default, bool):
            assert p.low is not None and p.low <= p.default <= p.high, p.name
        if p.choices:
            defaults = p.default if isinstance(p.default, list) else [p.default]
            assert {*defaults} <= {*p.choices}


def test_every_parameter_needs_something_that_exists():
    known = {p.name: p for p in parameters()}
    for p in known.values():
        assert p.needs in ('', *declare.OF_NODE, declare.CPU, *declare.ABILITIES), p.name
        for other, *values in filter(None, (p.only_with, p.or_with)):
            assert values and {*values} <= {*known[other].choices}, p.name


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'two_views.max_offset': 0.5}, 'it needs two_views.mode stereo, which is off'),
        ({'two_views.min_parallax': 3.0}, 'it needs two_views.mode motion, which is off'),
        ({'intrinsics': 'estimated', 'rectification': 'raw'}, 'it needs intrinsics camera_info'),
        ({'threads': 4}, 'the network runs on cuda'),
        (
            {'floor.height': 1.2},
            "it needs points.ground drop, which is keep; or anchors.sources height, which is ['']",
        ),
    ],
)
def test_what_has_no_effect_is_named_with_the_reason(values, reason):
    changed = with_values(Settings(), values)
    (text,) = without_effect(changed, PRESETS['dust3r_512_dpt'], torch.device('cuda'), has=OF_NODE)
    assert f'{list(values)[-1]} is ' in text and f'but has no effect: {reason}' in text


def test_values_are_put_into_their_groups():
    changed = with_values(Settings(), {'points.stride': 4, 'rate': 5.0})
    assert (changed.points.stride, changed.rate) == (4, 5.0)
    assert changed.points.color is Settings().points.color


def test_whole_numbers_are_taken_for_real_ones():
    changed = with_values(Settings(), {'rate': 5, 'onnx.mean': [0, 1, 0.5]})
    assert type(changed.rate) is float and changed.onnx.mean == [0.0, 1.0, 0.5]


def test_rules_of_the_command_line_are_yaml():
    assert layers.parse(['points.stride:=4', 'onnx.mean:=[0, 1, 2]', 'model:=x']) == {
        'points.stride': 4,
        'onnx.mean': [0, 1, 2],
        'model': 'x',
    }
    with pytest.raises(ConfigError, match='is not name:=value'):
        layers.parse(['rate=5'])


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ({'pionts.stride': 1}, 'pionts.stride is not a parameter'),
        ({'points.stride': 0}, 'the minimum is 1'),
        ({'rate': 1e9}, 'the maximum is 1000'),
        ({'rate': float('nan')}, 'rate is NaN'),
        ({'rate': 'fast'}, "'fast', str; it is of type float"),
        ({'points.stride': True}, 'it is of type int'),
        ({'onnx.mean': [0, 'x', 0]}, 'a list of float'),
        ({'onnx.mean': [0.0, float('nan'), 0.0]}, 'a list of float'),
        ({'onnx.input_size': [32.5, 24.0]}, 'a list of int'),
        ({'range.min': 5.0, 'range.max': 3.0}, 'range.min is 5 and range.max is 3'),
        ({'colorized.min': 20.0}, 'colorized.max must be greater'),
        ({'precision': 'fp8'}, 'choose one of auto, fp32, fp16, bf16'),
    ],
)
def test_bad_values_are_refused_by_name(values, said):
    with pytest.raises(ConfigError, match=said):
        with_values(Settings(), values)


def test_a_preset_changes_only_what_it_names():
    assert preset_values('fastdepth_nyu')['onnx.input_size'] == [224, 224]
    assert preset_values('flat_wall') == {}
    assert (layers.share_directory() / 'config' / 'depth.yaml').is_file()


@pytest.mark.parametrize('user', [{'points.ground': 'drop'}, {'anchors.sources': ['height']}])
def test_one_of_its_users_is_enough_for_the_floor_to_have_an_effect(user):
    changed = with_values(Settings(), {'floor.height': 1.2, 'floor.pitch': 10.0, **user})
    assert without_effect(changed, PRESETS['nano'], has=OF_NODE) == []


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({'cameras': []}, 'names each camera once'),
        ({'cameras': ['front', 'front']}, 'names each camera once'),
        ({'cameras': ['a b']}, 'no topic can begin with'),
        ({'cameras': ['', 'depth']}, 'outputs of another'),
        ({'cameras': ['front', 'left'], 'frame_id': 'eye'}, 'cannot all be in one frame'),
        ({'cameras': ['front'], 'two_views.mode': 'stereo'}, 'a node for each pair'),
        (
            {'cameras': ['front', 'left'], 'floor.height': 1.2},
            'floor.height is 1.2 but there are 2',
        ),
    ],
)
def test_what_several_cameras_cannot_have_is_refused(values, expected):
    with pytest.raises(ConfigError, match=expected):
        with_values(Settings(), values)


def test_cameras_have_names_of_topics():
    assert with_values(Settings(), {'cameras': ['front', 'rig/left']}).cameras[1] == 'rig/left'
