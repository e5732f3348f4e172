# SPDX-License-Identifier: Apache-2.0
"""The launch files only wire, and they wire right."""

import ast
import importlib.util
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from depth_ros.sim.sequence import SequenceSettings
from depth_ros.sim.world.layouts import LAYOUTS

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.name)
def test_launch_file_is_short_and_evaluates_no_text(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 185
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert not names & {'eval', 'exec', 'PythonExpression'}


@pytest.fixture
def described(monkeypatch, tmp_path):
    """(name of a launch file) -> its description; skips where ROS's launch is not installed."""
    # `import launch` alone would find our folder of that name
    pytest.importorskip('launch_ros.actions', reason='launch_ros is only in a ROS installation')

    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))  # no packages

    def load(name):
        return module_of(name).generate_launch_description()

    return load


def module_of(name):
    spec = importlib.util.spec_from_file_location('described', ROOT / 'launch' / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ament(described, tmp_path):
    """`ament(*packages)`: only these are installed."""

    def install(*packages):
        index = tmp_path / 'share/ament_index/resource_index/packages'
        index.mkdir(parents=True)
        for name in packages:
            (index / name).touch()

    return install


@pytest.fixture
def command(described):
    """(arguments of depth.launch.py) -> (values of parameters, remappings, rest) of the node.

    `command.windows` are RViz's of the last call, `command.logged` what it logs.
    """
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
    from launch.utilities import perform_substitutions

    def run(**arguments):
        context = LaunchContext()
        context.launch_configurations.update(arguments)
        for entity in described('depth.launch.py').entities:
            if isinstance(entity, DeclareLaunchArgument):
                entity.execute(context)
            if isinstance(entity, OpaqueFunction):
                *others, node = entity.execute(context)
        run.logged = [other for other in others if isinstance(other, LogInfo)]
        run.windows = [other for other in others if other not in run.logged]
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


def test_sources_of_metres_have_their_topics(command):
    given = {'anchors.sources': '[depth, points]', 'anchors/points': '/velodyne_points'}
    given |= {'anchors/depth': '/tof/depth/image', 'odom': '/wheels/odom'}
    values, remaps, _ = command(**given)
    assert values == {'anchors.sources': ['depth', 'points']}
    assert remaps['anchors/points'] == '/velodyne_points' and remaps['odom'] == '/wheels/odom'
    assert remaps['anchors/depth'] == '/tof/depth/image'
    assert remaps['anchors/depth/camera_info'] == '/tof/depth/camera_info'
    assert 'anchors/scan' not in remaps
    values, *_ = command(**{'anchors.sources': 'height'})
    assert values == {'anchors.sources': ['height']}


def test_several_cameras_have_their_topics_below_their_names(command):
    values, remaps, _ = command(cameras="[front, 'left']", image='image_raw')
    assert values == {'cameras': ['front', 'left']}
    assert remaps['front/image'] == 'front/image_raw'
    assert remaps['left/image/compressed'] == 'left/image_raw/compressed'
    assert remaps['left/camera_info'] == 'left/camera_info'
    assert len(remaps) == 6
    values, remaps, _ = command(cameras='front', image='/elsewhere/image_raw')
    assert values == {'cameras': ['front']}
    assert remaps['front/camera_info'] == '/elsewhere/camera_info'


@pytest.mark.parametrize(
    ('arguments', 'error'),
    [
        (
            {'cameras': '[front,left]', 'image': '/camera/image_raw'},
            r'image:=/camera/image_raw is one topic for all of cameras:=\[front,left\]; .* '
            'image:=image_raw',
        ),
        (
            {'cameras': '[front,left]', 'image': 'image', 'camera_info': '/info'},
            'camera_info:=/info is one topic for all',
        ),
        ({'rate': 'abc'}, 'rate:=abc is not a number'),
        ({'rviz': 'true'}, 'rviz:=true but package rviz2 is not installed'),
    ],
)
def test_contradictory_arguments_are_refused_by_name(command, arguments, error):
    with pytest.raises((ValueError, RuntimeError), match=error):
        command(**arguments)


@pytest.mark.parametrize('given', [{'image_transport': 'compressed'}, {}])
def test_compressed_images_are_subscribed_by_argument_or_topic(command, given):
    image = '/camera/image_raw' if given else '/camera/image_raw/compressed'
    values, remaps, _ = command(image=image, **given)
    assert values == {'image_transport': 'compressed'}
    assert remaps['image/compressed'] == '/camera/image_raw/compressed'
    assert remaps['camera_info'] == '/camera/camera_info'


def test_the_node_is_started_again_on_request(command):
    for given, expected in (({}, False), ({'respawn': 'true'}, True)):
        _, _, node = command(**given)
        assert node._ExecuteLocal__respawn is expected


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
def test_rviz_has_a_window_in_the_namespace_of_each_camera(command, ament, arguments, namespaces):
    ament('rviz2')
    command(**arguments, image='image_raw')
    assert [w._Node__node_namespace for w in command.windows] == namespaces
    names = [w._Node__node_name for w in command.windows]
    assert len(set(names)) == len(names)
    titles = [w._Node__arguments[-1] for w in command.windows]
    assert titles == [f'depth_ros {n} - RViz'.replace('  ', ' ') for n in in_words(namespaces)]
    for window in command.windows:
        ((_, image),) = window._Node__remappings
        assert ''.join(s.text for s in image) == 'image_raw'


@pytest.mark.parametrize('frame', ['', 'base_link'])
def test_the_fixed_frame_of_rviz_is_given_or_its_default_is_logged(command, ament, frame):
    ament('rviz2')
    command(rviz='true', **({'fixed_frame': frame} if frame else {}))
    (window,) = command.windows
    words = window._Node__arguments
    assert words[2:-2] == (['-f', frame] if frame else [])
    config = yaml.safe_load((ROOT / 'config/depth.rviz').read_text())
    default = config['Visualization Manager']['Global Options']['Fixed Frame']
    texts = [''.join(part.text for part in action.msg) for action in command.logged]
    assert texts == ([] if frame else [module_of('depth.launch.py').FIXED_FRAME])
    assert frame or f'fixed frame is {default}. ' in texts[0]
    command(**({'fixed_frame': frame} if frame else {}))
    assert not command.windows and not command.logged


def in_words(namespaces):
    return [namespace.replace('/', ' ') for namespace in namespaces]


def test_arguments_have_the_types_of_the_parameters(command):
    values, _, _ = command(rate='5', autostart='false', weights='0123', use_sim_time='true')
    assert values == {'rate': 5.0, 'autostart': False, 'weights': '0123', 'use_sim_time': True}
    assert isinstance(values['rate'], float)


@pytest.mark.parametrize('key', ['/**', '/*/depth_node', 'front/depth_node', '/front/depth_node'])
def test_argument_wins_over_params_file(command, tmp_path, key):
    path = tmp_path / 'mine.yaml'
    path.write_text(yaml.safe_dump({key: {'ros__parameters': {'rate': 2.0, 'device': 'cpu'}}}))
    values, _, node = command(params_file=str(path), rate='5', namespace='front')
    assert values == {'rate': 5.0, 'device': 'cpu'}
    # later is not enough: addressed to /** it would lose against a file that names the node
    assert node.node_name == '/front/depth_node'


@pytest.mark.parametrize(
    ('content', 'namespace', 'applies'),
    [
        ({'depth_node': {'ros__parameters': {}}}, '', True),
        ({'/depth_node': {'ros__parameters': {}}}, '', True),
        ({'/**': {'depth_node': {'ros__parameters': {}}}}, 'robot/front', True),
        ({'robot': {'depth_node': {'ros__parameters': {}}}}, '/robot', True),
        ({'other': {'ros__parameters': {}}, '/**': {'ros__parameters': {}}}, 'robot', True),
        ({'depth_node': {'ros__parameters': {}}}, 'robot', False),
        ({'/*': {'ros__parameters': {}}}, 'robot', False),
        ({'/left/depth_node': {'ros__parameters': {}}}, 'robot', False),
        ({}, '', False),
    ],
)
def test_params_file_without_a_section_for_the_node_is_refused(
    described, tmp_path, content, namespace, applies
):
    check_sections = module_of('depth.launch.py').check_sections
    path = tmp_path / 'mine.yaml'
    path.write_text(yaml.safe_dump(content))
    if applies:
        check_sections(path, namespace)
        return
    with pytest.raises(ValueError, match=r'mine.yaml has values for .* put them under /\*\* or /'):
        check_sections(path, namespace)


def test_params_file_of_another_namespace_is_refused(command, tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text(yaml.safe_dump({'depth_node': {'ros__parameters': {'rate': 2.0}}}))
    with pytest.raises(ValueError, match='the node is /front/depth_node'):
        command(params_file=str(path), namespace='front')


def test_params_file_that_is_not_there_is_refused(command):
    with pytest.raises(FileNotFoundError, match='/nope'):
        command(params_file='/nope.yaml')


@pytest.mark.parametrize('packages', [(), ('rviz2',)])
def test_demo_starts_rviz_where_it_is_installed(described, ament, packages):
    ament(*packages)
    (rviz,) = (a for a in described('demo.launch.py').get_launch_arguments() if a.name == 'rviz')
    assert rviz.default_value[0].text == ('true' if packages else 'false')


def test_demo_offers_the_scenes_there_are(described):
    arguments = described('demo.launch.py').get_launch_arguments()
    (scene,) = (argument for argument in arguments if argument.name == 'scene')
    assert list(scene.choices) == list(LAYOUTS)


@pytest.fixture
def demo(described):
    """(arguments of a launch file) -> the nodes that it starts, by executable."""
    from launch import LaunchContext
    from launch.actions import (
        DeclareLaunchArgument,
        GroupAction,
        IncludeLaunchDescription,
        LogInfo,
        OpaqueFunction,
        SetLaunchConfiguration,
    )
    from launch_ros.actions import SetRemap

    executed = (
        DeclareLaunchArgument,
        GroupAction,
        IncludeLaunchDescription,
        OpaqueFunction,
        SetLaunchConfiguration,
        SetRemap,
    )

    def visit(entity, context):
        condition = getattr(entity, 'condition', None)
        if condition is not None and not condition.evaluate(context):
            return []
        if isinstance(entity, executed):
            found = entity.execute(context) or []
        elif hasattr(entity, 'entities'):
            found = entity.entities
        else:
            demo.logged += [entity] if isinstance(entity, LogInfo) else []
            return [entity] if hasattr(entity, 'node_executable') else []
        return [node for one in found for node in visit(one, context)]

    def demo(file='demo.launch.py', **arguments):
        context = LaunchContext()
        context.launch_configurations.update(arguments)
        context.extend_locals({'current_launch_file_directory': str(ROOT / 'launch')})
        demo.logged = []
        nodes = visit(described(file), context)
        for node in nodes:
            if node.node_executable != 'rviz2':
                node._perform_substitutions(context)
        return {node.node_executable: node for node in nodes}

    return demo


def values_of(node):
    """Parameters of a node whose substitutions are performed."""
    values = {}
    for parameter, is_file in node._Node__expanded_parameter_arguments:
        if is_file:
            (entry,) = yaml.safe_load(Path(parameter).read_text()).values()
            values |= entry['ros__parameters']
        else:
            values |= parameter.evaluate(None)
    return values


def test_demo_wires_camera_and_node(demo):
    nodes = demo()
    assert list(nodes) == ['depth_node', 'synthetic_camera']
    assert values_of(nodes['depth_node']) == {'model': 'nano'}
    camera, default = values_of(nodes['synthetic_camera']), SequenceSettings()
    assert camera.pop('rate') == 30.0 and camera.pop('encoding') == 'rgb8'
    assert camera == {n: getattr(default, n) for n in ('kind', 'seed', 'width', 'height')}


def test_demo_has_arguments_for_camera_and_node(demo):
    nodes = demo(
        scene='room', seed='3', camera_rate='10', rate='5', model='flat_wall', namespace='robot'
    )
    assert values_of(nodes['depth_node']) == {'model': 'flat_wall', 'rate': 5.0}
    camera = values_of(nodes['synthetic_camera'])
    assert (camera['kind'], camera['seed'], camera['rate']) == ('room', 3, 10)
    assert {node.expanded_node_namespace for node in nodes.values()} == {'/robot'}


@pytest.mark.parametrize('packages', [(), ('rviz2',)])
def test_demo_says_that_no_window_opens_without_rviz(demo, ament, packages):
    ament(*packages)
    nodes = demo()
    assert ('rviz2' in nodes) == bool(packages)
    if packages:  # that of the synthetic camera
        assert nodes['rviz2']._Node__arguments[2:4] == ['-f', 'camera_optical_frame']
    assert bool(demo.logged) == (not packages)
    if not packages:
        with pytest.raises(RuntimeError, match='install it, or set rviz:=false'):
            demo(rviz='true')


def test_the_topics_of_nav2_s_tutorial(demo, ament):
    (node,) = demo('nav2_pipeline.launch.py', model='flat_wall').values()
    assert values_of(node) == {'model': 'flat_wall'}
    remaps = dict(node.expanded_remapping_rules)
    assert remaps['image'] == '/pipeline/image_raw'
    assert remaps['camera_info'] == '/pipeline/camera_info'
    assert remaps['depth/image'] == '/pipeline/depth'
    assert remaps['points'] == '/pipeline/points'
    with pytest.raises(RuntimeError, match=r'let another driver publish /pipeline/image_raw'):
        demo('nav2_pipeline.launch.py', usb_cam='true')
    ament('usb_cam')
    assert list(demo('nav2_pipeline.launch.py', usb_cam='true')) == [
        'depth_node',
        'usb_cam_node_exe',
    ]
