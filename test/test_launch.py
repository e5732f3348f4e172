# SPDX-License-Identifier: Apache-2.0
"""The launch files only wire, and they wire right."""

import ast
import importlib.util
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.name)
def test_launch_file_is_short_and_evaluates_no_text(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert not names & {'eval', 'exec', 'PythonExpression'}


@pytest.fixture
def described():
    """(name of a launch file) -> its description; skips where ROS's launch is not installed."""
    # `import launch` alone would find our folder of that name
    pytest.importorskip('launch_ros.actions', reason='launch_ros is only in a ROS installation')

    def load(name):
        spec = importlib.util.spec_from_file_location('described', ROOT / 'launch' / name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.generate_launch_description()

    return load


@pytest.fixture
def command(described):
    """(arguments of depth.launch.py) -> (values of parameters, remappings, rest) of the node.

    `command.windows` are RViz's of the last call.
    """
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch.utilities import perform_substitutions

    def run(**arguments):
        context = LaunchContext()
        context.launch_configurations.update(arguments)
        for entity in described('depth.launch.py').entities:
            if isinstance(entity, DeclareLaunchArgument):
                entity.execute(context)
            if isinstance(entity, OpaqueFunction):
                *run.windows, node = entity.execute(context)
        node._perform_substitutions(context)
        context.extend_locals({'ros_specific_arguments': {'name': '', 'ns': ''}})
        # the executable itself is only there once the package is installed
        words = [perform_substitutions(context, word) for word in node.cmd[1:]]
        values, remaps = {}, {}
        for option, word in pairwise(words):
            if option == '--params-file':
                (entry,) = yaml.safe_load(Path(word).read_text()).values()
                values.update(entry['ros__parameters'])
            if option == '-r' and word:
                remaps.update([word.split(':=')])
        return values, remaps, node

    return run


def test_arguments_are_described(described):
    for path in FILES:
        for argument in described(path.name).get_launch_arguments():
            assert argument.description != 'no description given', argument.name


def test_arguments_that_were_not_given_set_nothing(command):
    values, remaps, _ = command()
    assert values == {}
    assert remaps == {
        'image': 'image',
        'image/compressed': 'image/compressed',
        'camera_info': 'camera_info',
    }


@pytest.mark.parametrize(
    ('image', 'camera_info'),
    [
        ('/front/image_raw', '/front/camera_info'),
        ('image_raw', 'camera_info'),
        ('front/image_rect', 'front/camera_info'),
    ],
)
def test_camera_info_is_the_sibling_of_the_image(command, image, camera_info):
    _, remaps, _ = command(image=image)
    assert remaps['image'] == image
    assert remaps['image/compressed'] == f'{image}/compressed'
    assert remaps['camera_info'] == camera_info


def test_camera_info_can_be_elsewhere(command):
    _, remaps, _ = command(image='/a/image_raw', camera_info='/b/info')
    assert remaps['camera_info'] == '/b/info'


def test_several_cameras_have_their_topics_below_their_names(command):
    values, remaps, _ = command(cameras="[front, 'left']", image='image_raw')
    assert values == {'cameras': ['front', 'left']}
    assert remaps['front/image'] == 'front/image_raw'
    assert remaps['left/image/compressed'] == 'left/image_raw/compressed'
    assert remaps['left/camera_info'] == 'left/camera_info'
    assert len(remaps) == 6
    _, remaps, _ = command(cameras='[front]', image='/elsewhere/image_raw')
    assert remaps['front/camera_info'] == '/elsewhere/camera_info'


@pytest.mark.parametrize(
    ('arguments', 'namespaces'),
    [
        ({}, []),
        ({'rviz': 'true'}, ['']),
        ({'rviz': 'true', 'namespace': 'robot'}, ['robot']),
        ({'rviz': 'true', 'cameras': '[front,left]'}, ['front', 'left']),
        (
            {'rviz': 'true', 'cameras': '[front,left]', 'namespace': 'robot'},
            ['robot/front', 'robot/left'],
        ),
    ],
)
def test_rviz_has_a_window_in_the_namespace_of_each_camera(command, arguments, namespaces):
    command(**arguments, image='image_raw')
    assert [w._Node__node_namespace for w in command.windows] == namespaces
    for window in command.windows:
        ((_, image),) = window._Node__remappings
        assert ''.join(s.text for s in image) == 'image_raw'


def test_arguments_have_the_types_of_the_parameters(command):
    values, _, _ = command(rate='5', autostart='false', weights='0123', use_sim_time='true')
    assert values == {'rate': 5.0, 'autostart': False, 'weights': '0123', 'use_sim_time': True}
    assert isinstance(values['rate'], float)


@pytest.mark.parametrize('key', ['/**', 'depth_node', '/front/depth_node'])
def test_argument_wins_over_params_file(command, tmp_path, key):
    path = tmp_path / 'mine.yaml'
    path.write_text(yaml.safe_dump({key: {'ros__parameters': {'rate': 2.0, 'device': 'cpu'}}}))
    values, _, node = command(params_file=str(path), rate='5', namespace='front')
    assert values == {'rate': 5.0, 'device': 'cpu'}
    # later is not enough: addressed to /** it would lose against a file that names the node
    assert node.node_name == '/front/depth_node'


def test_params_file_that_is_not_there_is_refused(command):
    with pytest.raises(FileNotFoundError, match='/nope'):
        command(params_file='/nope.yaml')


def test_demo_wires_camera_and_node(described):
    from launch.actions import IncludeLaunchDescription
    from launch_ros.actions import Node

    entities = described('demo.launch.py').entities
    assert [e.node_executable for e in entities if isinstance(e, Node)] == ['synthetic_camera']
    (included,) = (e for e in entities if isinstance(e, IncludeLaunchDescription))
    assert ('model', 'nano') in included.launch_arguments
