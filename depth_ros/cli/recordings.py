# SPDX-License-Identifier: Apache-2.0
"""Arguments that name recordings with poses, and say how they are read."""

from __future__ import annotations

import argparse
from pathlib import Path

from depth_ros.cli import arguments
from depth_ros.offline.adapt.posed import Options


def add_recordings(parser: argparse.ArgumentParser) -> None:
    """Add the recordings, their poses and their camera."""
    parser.add_argument(
        'recordings', nargs='+', metavar='RECORDING',
        help='bag, or folder of images with poses: TUM, KITTI, EuRoC, 7-Scenes, ScanNet',
    )  # fmt: skip
    arguments.add_topic(parser)
    parser.add_argument(
        '--fixed-frame', default='', metavar='FRAME',
        help='of the TF of bags, which does not move; default: odom, map or world',
    )  # fmt: skip
    parser.add_argument(
        '--odometry', default='', metavar='TOPIC',
        help='of bags, with poses; default: TF, else the only nav_msgs/Odometry',
    )  # fmt: skip
    parser.add_argument(
        '--trajectory', type=Path, metavar='FILE',
        help='poses of a bag or folder, lines of: stamp x y z qx qy qz qw',
    )  # fmt: skip
    parser.add_argument(
        '--poses', choices=('needed', 'none'), default='needed',
        help='none: for a network that learns the motion as well',
    )  # fmt: skip
    parser.add_argument(
        '--pose-frame', default='', metavar='FRAME',
        help='whose poses --odometry or --trajectory has; default: child_frame_id, the camera',
    )  # fmt: skip
    parser.add_argument(
        '--camera-pose', type=float, nargs=7, default=(), metavar=('X', 'Y', 'Z', 'QX', 'QY',
        'QZ', 'QW'), help='of the optical frame in that frame; default: by TF',
    )  # fmt: skip
    parser.add_argument(
        '--camera-frame', default='', metavar='FRAME',
        help='optical frame of the images; default: their frame_id',
    )  # fmt: skip
    arguments.add_selection(parser)
    arguments.add_camera(parser)


def options(args: argparse.Namespace) -> Options:
    """What `add_recordings` says of the recordings."""
    return Options(
        topic=args.topic,
        odometry=args.odometry,
        fixed_frame=args.fixed_frame,
        pose_frame=args.pose_frame,
        camera_frame=args.camera_frame,
        camera_pose=args.camera_pose,
        trajectory=args.trajectory,
        camera=arguments.camera(args),
        selection=arguments.selection(args),
        needs_poses=args.poses == 'needed',
    )
