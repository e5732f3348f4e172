# SPDX-License-Identifier: Apache-2.0
"""depth_node: `ros2 launch depth_ros depth.launch.py image:=/camera/image_raw`."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SWITCH = ['true', 'false']
# name: (default, description, choices, type of a parameter); empty: file, preset or default decide
ARGUMENTS = {
    'image': ('image', 'Image topic; compressed images are on <image>/compressed.', None, None),
    'camera_info': ('', 'CameraInfo topic; empty: camera_info next to image.', None, None),
    'cameras': ('', 'Several cameras, [front,left]: prefixes of both topics.', None, list[str]),
    'params_file': ('', 'YAML file with parameters; see config/depth.yaml.', None, None),
    'model': ('', 'Preset of docs/networks.md, or auto.', None, str),
    'weights': ('', 'Checkpoint: file, folder or hub id.', None, str),
    'accept_licence': ('', 'true: you accept a restrictive licence.', ['', *SWITCH], bool),
    'device': ('', 'auto, cpu or cuda:N.', None, str),
    'intrinsics': ('', 'Source of K.', ['', 'camera_info', 'estimated'], str),
    'rate': ('', 'Maximum rate of depth images [Hz]; 0: no limit.', None, float),
    'autostart': ('', 'false: wait for a lifecycle manager.', ['', *SWITCH], bool),
    'use_sim_time': ('', 'true: use the time from /clock.', ['', *SWITCH], bool),
    'namespace': ('', 'Namespace of the node and its topics.', None, None),
    'log_level': ('info', 'Log level.', ['debug', 'info', 'warn', 'error', 'fatal'], None),
    'rviz': ('false', 'true: also start RViz (package rviz2).', SWITCH, None),
    'fixed_frame': ('camera_optical_frame', 'Fixed frame of RViz.', None, None),
}


def actions(context: LaunchContext) -> list[Node]:
    """RViz, a window for each camera (first: where it is not installed nothing must run); node."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if given['params_file'] and not Path(given['params_file']).is_file():
        raise FileNotFoundError(f'params_file:={given["params_file"]} is not a file')
    values = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, (*_, kind) in ARGUMENTS.items()
        if kind and given[name]
    }
    image = given['image']
    info = given['camera_info'] or ''.join(image.rpartition('/')[:2]) + 'camera_info'
    topics = {'image': image, 'image/compressed': f'{image}/compressed', 'camera_info': info}
    names = [name.strip(' \'"') for name in given['cameras'].strip('[]').split(',')]
    remaps = [(str(Path(n, own)), str(Path(n, at))) for n in names for own, at in topics.items()]
    look = [FindPackageShare('depth_ros'), '/config/depth.rviz']
    windows = [
        Node(
            package='rviz2',
            executable='rviz2',
            namespace='/'.join(filter(None, (given['namespace'], name))),  # of its topics
            arguments=['-d', look, '-f', given['fixed_frame']],
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
    )
    return [*windows, node]


def generate_launch_description() -> LaunchDescription:
    """The arguments, then the nodes."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        for name, (default, text, choices, _) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=actions)])
