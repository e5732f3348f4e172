# SPDX-License-Identifier: Apache-2.0
"""depth_node: `ros2 launch depth_ros depth.launch.py image:=/camera/image_raw`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration, TextSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

FIXED_FRAME = (
    "RViz's fixed frame is camera_optical_frame. If the images have another frame_id, it shows no "
    'points: start with fixed_frame:= the frame that depth_node logs ("camera ..., frame ...")'
)
SWITCH = ['true', 'false']
#: inputs that all cameras share
SENSORS = ('anchors/points', 'anchors/scan', 'anchors/range', 'anchors/depth', 'odom')
# name: (default, description, choices, type of a parameter); empty: file, preset or default decide
ARGUMENTS = {
    'image': ('image', 'Image topic; may end in /compressed.', None, None),
    'camera_info': ('', 'CameraInfo topic; empty: camera_info next to image.', None, None),
    'image_transport': (
        '',
        'Subscribe images or compressed images.',
        ['', 'raw', 'compressed'],
        str,
    ),
    'cameras': ('', 'Several cameras, [front,left]: prefixes of both topics.', None, list[str]),
    'params_file': ('', 'YAML file with parameters; see config/depth.yaml.', None, None),
    'model': ('', 'Preset of docs/networks.md, or auto.', None, str),
    'weights': ('', 'Checkpoint: file, folder or hub id.', None, str),
    'accept_licence': ('', 'true: you accept a restrictive licence.', ['', *SWITCH], bool),
    'device': ('', 'auto, cpu or cuda:N.', None, str),
    'intrinsics': ('', 'Source of K.', ['', 'camera_info', 'estimated'], str),
    'anchors.sources': (
        '',
        'Sources of metres, [points,height]: docs/metres.md.',
        None,
        list[str],
    ),
    'anchors/points': ('', 'PointCloud2 topic of the source points.', None, None),
    'anchors/scan': ('', 'LaserScan topic of the source scan.', None, None),
    'anchors/range': ('', 'Range topic of the source range.', None, None),
    'anchors/depth': ('', 'Depth image topic of the source depth.', None, None),
    'odom': ('', 'Odometry topic.', None, None),
    'rate': ('', 'Maximum rate of depth images [Hz]; 0: no limit.', None, float),
    'autostart': ('', 'false: wait for a lifecycle manager.', ['', *SWITCH], bool),
    'use_sim_time': ('', 'true: use the time from /clock.', ['', *SWITCH], bool),
    'namespace': ('', 'Namespace of the node and its topics.', None, None),
    'log_level': ('info', 'Log level.', ['debug', 'info', 'warn', 'error', 'fatal'], None),
    'respawn': ('false', 'true: start the node again when it ends.', SWITCH, None),
    'rviz': ('false', 'true: also start RViz (package rviz2).', SWITCH, None),
    'fixed_frame': ('', 'Fixed frame of RViz: frame_id of the images, or one of TF.', None, None),
}


def checked(given: dict[str, str]) -> dict[str, str]:
    """The arguments, with a compressed topic split up; errors name the argument and the remedy."""
    if given['params_file'] and not Path(given['params_file']).is_file():
        raise FileNotFoundError(f'params_file:={given["params_file"]} is not a file')
    if given['params_file']:
        check_sections(Path(given['params_file']), given['namespace'])
    try:
        float(given['rate'] or 0)
    except ValueError:
        raise ValueError(f'rate:={given["rate"]} is not a number [Hz]') from None
    if given['rviz'] == 'true' and not installed('rviz2'):
        raise RuntimeError(
            'rviz:=true but package rviz2 is not installed: install it, or set rviz:=false'
        )
    if given['image'].endswith('/compressed'):
        image = given['image'].removesuffix('/compressed')
        given = {**given, 'image': image, 'image_transport': 'compressed'}
    for name in ('image', 'camera_info') if len(names_of(given)) > 1 else ():
        if given[name].startswith('/'):
            raise ValueError(
                f'{name}:={given[name]} is one topic for all of cameras:={given["cameras"]}; give '
                f'a name below each of them, such as {name}:={given[name].rpartition("/")[2]}'
            )
    for name in ('cameras', 'anchors.sources'):
        if given[name]:
            given = {**given, name: f'[{", ".join(names_of(given, name))}]'}
    return given


def check_sections(path: Path, namespace: str) -> None:
    """Refuse a params file without a section that applies to the node: ROS would ignore it."""
    node = '/' + '/'.join(filter(None, (namespace.strip('/'), 'depth_node')))
    found = list(sections(yaml.safe_load(path.read_text()) or {}))
    # as in rcl: * is one part of a name, ** any number of them
    patterns = [s.replace('/**', r'(/\w+)*').replace('/*', r'(/\w+)') for s in found]
    if not any(re.fullmatch(pattern, node) for pattern in patterns):
        raise ValueError(
            f'params_file:={path} has values for {", ".join(found) or "no node"}, but the node is '
            f'{node}: put them under /** or {node}'
        )


def sections(tree: dict[str, Any], prefix: str = '') -> Iterator[str]:
    """Names of the nodes that a params file has values for; may contain * and **."""
    for key, value in tree.items():
        if key == 'ros__parameters':
            yield prefix
        elif isinstance(value, dict):
            yield from sections(value, f'{prefix}/{key.strip("/")}')


def installed(package: str) -> bool:
    """Whether a ROS package is installed."""
    try:
        return bool(get_package_prefix(package))
    except PackageNotFoundError:
        return False


def names_of(given: dict[str, str], argument: str = 'cameras') -> list[str]:
    """Names in [front,left]; [''] for a single camera without one."""
    return [name.strip(' \'"') for name in given[argument].strip('[]').split(',')]


def title(given: dict[str, str], camera: str) -> str:
    """Title of the RViz window of a camera."""
    return ' '.join(filter(None, ('depth_ros', given['namespace'], camera, '- RViz')))


def actions(context: LaunchContext) -> list[Node | LogInfo]:
    """RViz, a window for each camera (first: where it is not installed nothing must run); node."""
    given = checked({name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS})
    names = names_of(given)
    values = {
        name: ParameterValue(TextSubstitution(text=given[name]), value_type=kind)
        for name, (*_, kind) in ARGUMENTS.items()
        if kind and given[name]
    }
    image = given['image']
    info = given['camera_info'] or ''.join(image.rpartition('/')[:2]) + 'camera_info'
    topics = {'image': image, 'image/compressed': f'{image}/compressed', 'camera_info': info}
    remaps = [(str(Path(n, own)), str(Path(n, at))) for n in names for own, at in topics.items()]
    remaps += [(topic, given[topic]) for topic in SENSORS if given[topic]]
    if given['anchors/depth']:
        beside = ''.join(given['anchors/depth'].rpartition('/')[:2])
        remaps.append(('anchors/depth/camera_info', f'{beside}camera_info'))
    config = [FindPackageShare('depth_ros'), '/config/depth.rviz']
    frame = ['-f', given['fixed_frame']] if given['fixed_frame'] else []  # else of the config
    windows = [
        Node(
            package='rviz2',
            executable='rviz2',
            name='_'.join(filter(None, ('rviz', *Path(name).parts))),
            namespace='/'.join(filter(None, (given['namespace'], name))),  # of its topics
            arguments=['-d', config, *frame, '-t', title(given, name)],
            remappings=[('image', image)],
        )
        for name in (names if given['rviz'] == 'true' else ())
    ]
    node = Node(
        package='depth_ros',
        executable='depth_node',
        name='depth_node',  # values for /** would lose against a params_file that names it
        namespace=given['namespace'],
        parameters=[layer for layer in (given['params_file'], values) if layer],
        remappings=remaps,
        arguments=['--ros-args', '--log-level', given['log_level']],
        output='screen',
        respawn=given['respawn'] == 'true',
        respawn_delay=1.0,
    )
    hint = [LogInfo(msg=FIXED_FRAME)] if windows and not frame else []
    return [*hint, *windows, node]


def generate_launch_description() -> LaunchDescription:
    """The arguments, then the nodes."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        for name, (default, text, choices, _) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=actions)])
