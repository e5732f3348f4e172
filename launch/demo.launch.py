# SPDX-License-Identifier: Apache-2.0
"""A rendered camera and depth of nano: no camera, GPU or download needed."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """Camera, node, RViz."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'rviz',
                default_value='true',
                choices=['true', 'false'],
                description='Open RViz (package rviz2).',
            ),
            IncludeLaunchDescription(
                PathJoinSubstitution([ThisLaunchFileDir(), 'depth.launch.py']),
                launch_arguments={
                    'model': 'nano',
                    'rviz': LaunchConfiguration('rviz'),
                }.items(),
            ),
            Node(package='depth_ros', executable='synthetic_camera', output='screen'),
        ]
    )
