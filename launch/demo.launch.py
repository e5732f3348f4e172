# SPDX-License-Identifier: Apache-2.0
"""A rendered camera and depth of nano: no camera, GPU or download needed."""

from ament_index_python.packages import get_packages_with_prefixes
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, LogInfo
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

WITHOUT_RVIZ = (
    'package rviz2 is not installed: no window opens. Subscribe to an output to see that it '
    'works, for example: ros2 topic hz points'
)


# name: (default, description); parameters of synthetic_camera, except the name that differs
CAMERA = {
    'seed': ('10000602', 'Seed of scene and trajectory.'),
    'width': ('320', 'Width of the images [px].'),
    'height': ('240', 'Height of the images [px].'),
    'camera_rate': ('30.0', 'Rate of the images [Hz].'),
    'encoding': ('rgb8', 'Encoding of the images.'),
}


def generate_launch_description() -> LaunchDescription:
    """Camera, node and, where it is installed, RViz.

    All arguments of depth.launch.py can be given too, for example rate:=5.
    """
    has_rviz = 'rviz2' in get_packages_with_prefixes()
    kinds = ['room', 'corridor', 'warehouse', 'street', 'yard']
    scene = ParameterValue(LaunchConfiguration('scene'), value_type=str)
    values = {name.removeprefix('camera_'): LaunchConfiguration(name) for name in CAMERA}
    passed_on = {name: LaunchConfiguration(name) for name in ('model', 'rviz', 'namespace')}
    passed_on['fixed_frame'] = 'camera_optical_frame'  # of the synthetic camera
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'rviz',
                default_value=str(has_rviz).lower(),
                choices=['true', 'false'],
                description='Also start RViz; by default if package rviz2 is installed.',
            ),
            DeclareLaunchArgument(
                'scene', default_value='warehouse', choices=kinds, description='Kind of scene.'
            ),
            DeclareLaunchArgument('model', default_value='nano', description='Preset, or auto.'),
            DeclareLaunchArgument(
                'namespace', default_value='', description='Namespace of nodes and topics.'
            ),
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in CAMERA.items()
            ),
            *([] if has_rviz else [LogInfo(msg=WITHOUT_RVIZ)]),
            IncludeLaunchDescription(
                PathJoinSubstitution([ThisLaunchFileDir(), 'depth.launch.py']),
                launch_arguments=passed_on.items(),
            ),
            Node(
                package='depth_ros',
                executable='synthetic_camera',
                namespace=LaunchConfiguration('namespace'),
                parameters=[{'kind': scene, **values}],
                output='screen',
            ),
        ]
    )
