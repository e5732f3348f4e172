# SPDX-License-Identifier: Apache-2.0
"""depth_node with the topics of Nav2's tutorial "AI Depth Estimation with Nav2 Costmap".

The tutorial loads C++ components for cropping, resizing, depth and points; depth_node does all of
it. So /pipeline/image_preprocessed is missing: depth has the size of /pipeline/image_raw.
"""

from ament_index_python.packages import get_packages_with_prefixes
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node, SetRemap

#: of depth_node
OUTPUTS = {
    'depth/image': '/pipeline/depth',
    'depth/image/compressedDepth': '/pipeline/depth/compressedDepth',
    'depth/camera_info': '/pipeline/depth/camera_info',
    'points': '/pipeline/points',
    'points_clearing': '/pipeline/points_clearing',
}


def check_camera(context) -> None:
    """Refuse a camera driver that is not installed."""
    wanted = LaunchConfiguration('usb_cam').perform(context) == 'true'
    if wanted and 'usb_cam' not in get_packages_with_prefixes():
        raise RuntimeError(
            'usb_cam:=true but package usb_cam is not installed: install it, or set it to false '
            'and let another driver publish /pipeline/image_raw and /pipeline/camera_info'
        )


def generate_launch_description() -> LaunchDescription:
    """The camera driver, if wanted, and depth_node.

    All arguments of depth.launch.py can be given too, for example rate:=10.
    """
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'image', default_value='/pipeline/image_raw', description='Image topic.'
            ),
            DeclareLaunchArgument(
                'usb_cam',
                default_value='false',
                choices=['true', 'false'],
                description='Also start a USB camera (package usb_cam).',
            ),
            OpaqueFunction(function=check_camera),
            GroupAction(
                [
                    *(SetRemap(own, at) for own, at in OUTPUTS.items()),
                    IncludeLaunchDescription(
                        PathJoinSubstitution([ThisLaunchFileDir(), 'depth.launch.py']),
                        launch_arguments={'image': LaunchConfiguration('image')}.items(),
                    ),
                ]
            ),
            Node(
                package='usb_cam',
                executable='usb_cam_node_exe',
                remappings=[
                    ('image_raw', '/pipeline/image_raw'),
                    ('camera_info', '/pipeline/camera_info'),
                ],
                output='screen',
                condition=IfCondition(LaunchConfiguration('usb_cam')),
            ),
        ]
    )
