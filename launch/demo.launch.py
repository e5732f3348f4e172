# SPDX-License-Identifier: Apache-2.0
"""A rendered camera and depth of nano: no camera, GPU or download needed."""

from ament_index_python.packages import get_packages_with_prefixes
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue


def generate_launch_description() -> LaunchDescription:
    """Camera, node and, where it is installed, RViz."""
    rviz = 'true' if 'rviz2' in get_packages_with_prefixes() else 'false'
    kinds = ['room', 'corridor', 'warehouse', 'street', 'yard']
    scene = ParameterValue(LaunchConfiguration('scene'), value_type=str)
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'rviz',
                default_value=rviz,
                choices=['true', 'false'],
                description='Also start RViz; by default if package rviz2 is installed.',
            ),
            DeclareLaunchArgument(
                'scene', default_value='warehouse', choices=kinds, description='Kind of scene.'
            ),
            IncludeLaunchDescription(
                PathJoinSubstitution([ThisLaunchFileDir(), 'depth.launch.py']),
                launch_arguments={
                    'model': 'nano',
                    'rviz': LaunchConfiguration('rviz'),
                }.items(),
            ),
            Node(
                package='depth_ros',
                executable='synthetic_camera',
                parameters=[{'kind': scene}],
                output='screen',
            ),
        ]
    )
