# SPDX-License-Identifier: Apache-2.0
"""depth_node for one camera: `ros2 launch depth_ros depth.launch.py image:=/camera/image_raw`."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SWITCH = ['true', 'false']
# name: (default, description, choices)
ARGUMENTS = {
    'image': ('image', 'Topic of the image; compressed images are looked for below it.', None),
    'camera_info': ('', 'Topic of its CameraInfo; empty means the sibling of image.', None),
    'params_file': ('', 'YAML with the parameters that differ from config/depth.yaml.', None),
    'model': ('', 'Preset, a name from MODELS.md.', None),
    'weights': ('', "Checkpoint file, folder or hub id; else the preset's own source.", None),
    'device': ('', 'auto, cpu or cuda:N.', None),
    'rate': ('', 'Most depth images a second [Hz]; 0 means every frame.', None),
    'autostart': ('', 'false waits for a lifecycle manager.', ['', *SWITCH]),
    'use_sim_time': ('', 'true takes the time from /clock.', ['', *SWITCH]),
    'namespace': ('', 'Namespace of the node and its topics.', None),
    'log_level': ('info', 'Least severity logged.', ['debug', 'info', 'warn', 'error', 'fatal']),
    'rviz': ('false', 'Also open RViz (package rviz2).', SWITCH),
}
# The parameters of the node among them. Left empty they are not passed on: then params_file
# decides, then the preset's file in config/models/, then the default in the code.
PARAMETERS = {'model': str, 'weights': str, 'device': str, 'rate': float}
PARAMETERS |= {'autostart': bool, 'use_sim_time': bool}


def depth_node(context: LaunchContext) -> list[Node]:
    """The node, with the parameters that were given."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if given['params_file'] and not Path(given['params_file']).is_file():
        raise FileNotFoundError(f'params_file:={given["params_file"]} is not a file')
    values = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in PARAMETERS.items()
        if given[name]
    }
    sibling = ''.join(given['image'].rpartition('/')[:2]) + 'camera_info'
    node = Node(
        package='depth_ros',
        executable='depth_node',
        # named in full: values for /** would lose against a params_file that names the node
        name='depth_node',
        namespace=given['namespace'],
        parameters=[layer for layer in (given['params_file'], values) if layer],
        remappings=[
            ('image', given['image']),
            ('image/compressed', f'{given["image"]}/compressed'),
            ('camera_info', given['camera_info'] or sibling),
        ],
        arguments=['--ros-args', '--log-level', given['log_level']],
        output='screen',
    )
    return [node]


def generate_launch_description() -> LaunchDescription:
    """Arguments, node, RViz."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        for name, (default, text, choices) in ARGUMENTS.items()
    ]
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', [FindPackageShare('depth_ros'), '/config/depth.rviz']],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
    # RViz first: where it is not installed, launch fails before anything runs.
    return LaunchDescription([*arguments, rviz, OpaqueFunction(function=depth_node)])
