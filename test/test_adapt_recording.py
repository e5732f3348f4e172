# SPDX-License-Identifier: Apache-2.0
"""Recordings to learn from: images, cameras and poses of all layouts, and what is refused."""

import argparse
import math
import os
from pathlib import Path

import numpy as np
import posed_recordings as made
import pytest
import torch
from bag_writer import Written
from PIL import Image
from posed_recordings import MOUNT, START_S, where

from depth_ros.cli.recordings import add_recordings, options
from depth_ros.core.errors import CameraError, ConfigError, ImageError
from depth_ros.offline.adapt import losses
from depth_ros.offline.adapt.motion import RUN, Motion, chosen, jumps
from depth_ros.offline.adapt.posed import Options
from depth_ros.offline.adapt.recording import all_views, open_recording, open_recordings
from depth_ros.offline.adapt.scene import Images
from depth_ros.offline.adapt.views import check_partners, partners
from depth_ros.offline.adapt.warp import rays, warp
from depth_ros.offline.cameras import GivenCamera
from depth_ros.offline.evaluation.truth import find
from depth_ros.offline.recorded import Selection

pytest.importorskip('rosbags', reason='rosbags is not installed')

#: layout -> what writes it, and what it is called
FORMS = {
    'tum': (made.tum, 'TUM RGB-D'),
    '7scenes': (made.seven_scenes, '7-Scenes'),
    'scannet': (made.scannet, 'ScanNet'),
    'open3d': (made.open3d, 'rgb, intrinsics, trajectory'),
    'kitti': (made.kitti_odometry, 'KITTI odometry'),
    'euroc': (made.euroc, 'EuRoC'),
    'tf': (made.tf_bag, 'bag, poses of TF odom'),
    'odometry': (made.odometry_bag, 'bag, poses of /odom'),
}
TIMED = {'tum', 'kitti', 'euroc', 'tf', 'odometry'}


@pytest.mark.parametrize('form', FORMS)
def test_each_layout_gives_the_pose_of_the_optical_frame(tmp_path, form):
    """Also where poses are of another time, or of the robot: within 0.01 mm."""
    write, layout = FORMS[form]
    recording = open_recording(write(tmp_path / form))
    assert recording.layout == layout
    views = recording.views()
    assert len(views) >= 5 and not recording.doubts
    for view in views:
        expected = where(START_S + view.number / made.RATE)
        np.testing.assert_allclose(view.T_world_camera, expected, atol=1e-5, err_msg=view.name)
        assert view.camera.fx == pytest.approx(made.FX) and view.camera.size == (48, 64)


@pytest.mark.parametrize('form', sorted(set(FORMS) - {'scannet', 'tf', 'odometry'}))
def test_images_are_those_of_the_numbers(tmp_path, form):
    """Of files and poses in order of time; OpenCV wrote BGR."""
    views = open_recording(FORMS[form][0](tmp_path / form)).views()
    for view in views:
        np.testing.assert_array_equal(view.rgb.numpy()[..., ::-1], made.noise(view.number))


@pytest.mark.parametrize('compressed', ['', 'file', 'message', 'storage'])
def test_images_of_a_bag_are_found_again(tmp_path, compressed):
    recording = open_recording(made.tf_bag(tmp_path / 'b', compressed=compressed))
    for view in recording.views():
        np.testing.assert_array_equal(view.rgb.numpy(), made.noise(view.number))


def test_a_bag_of_ros_1(tmp_path):
    """Its camera_info has D, K, R and P instead of d, k, r and p."""
    views = open_recording(made.tf_bag(tmp_path / 'b.bag')).views()
    assert len(views) == 6 and views[0].name == 'b/000000' and views[0].camera.fx == made.FX
    np.testing.assert_array_equal(views[2].rgb.numpy(), made.noise(2))
    np.testing.assert_allclose(views[2].T_world_camera, where(START_S + 0.2), atol=1e-5)


@pytest.mark.parametrize('form', sorted(TIMED))
def test_poses_are_known_at_other_times(tmp_path, form):
    recording = open_recording(FORMS[form][0](tmp_path / form))
    assert recording.has_times
    for offset_s in (-0.025, 0.025):
        views = recording.views(offset_s)
        assert len(views) >= len(recording.views()) - 1, 'the first or last may have none'
        for view in views:
            expected = where(START_S + view.number / made.RATE + offset_s)
            np.testing.assert_allclose(view.T_world_camera, expected, atol=1e-5)
    assert recording.pose(2, 1000.0) is None
    assert recording.views(1000.0) == []


@pytest.mark.parametrize('form', sorted(set(FORMS) - TIMED))
def test_poses_without_times_are_not_shifted(tmp_path, form):
    recording = open_recording(FORMS[form][0](tmp_path / form))
    assert not recording.has_times and recording.views(0.0)
    with pytest.raises(ConfigError, match=r'poses without stamps cannot be shifted by 0\.1 s'):
        recording.views(0.1)


def test_kitti_odometry_without_times_and_with_poses_where_the_data_set_has_them(tmp_path):
    sequence = made.kitti_odometry(tmp_path / 'dataset' / 'sequences' / '00', timed=False)
    poses = tmp_path / 'dataset' / 'poses'
    poses.mkdir()
    text = (sequence / 'poses.txt').read_text()
    (sequence / 'poses.txt').unlink()
    with pytest.raises(ConfigError, match=r'no poses\.txt with 12 numbers'):
        open_recording(sequence)
    (poses / '00.txt').write_text(text)
    recording = open_recording(sequence)
    assert not recording.has_times
    np.testing.assert_allclose(recording.pose(3), where(START_S + 0.3), atol=1e-5)


def write_drive(path, count=8):
    """A car that drives 1 m each 0.1 s and turns left by 2 degrees; camera 2 of KITTI raw."""
    drive = path / '2011_09_26' / '2011_09_26_drive_0001_sync'
    R_cam_velo = np.linalg.inv(made.OPTICAL)
    for name, R in (('velo_to_cam', R_cam_velo), ('imu_to_velo', np.eye(3))):
        text = 'R: ' + ' '.join(f'{v:g}' for v in R.ravel()) + '\nT: 0 0 0\n'
        (drive.parent).mkdir(parents=True, exist_ok=True)
        (drive.parent / f'calib_{name}.txt').write_text(f'calib_time: 09-Jan-2012\n{text}')
    (drive.parent / 'calib_cam_to_cam.txt').write_text(
        'R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 50 0 31.5 3 0 50 23.5 0 0 0 1 0\n'
    )
    (drive / 'oxts' / 'data').mkdir(parents=True)
    x = y = 0.0
    for k in range(count):
        made.picture(drive / 'image_02' / 'data' / f'{k:010d}.png', k)
        yaw = math.radians(90 + 2 * k)  # east is x; this one drives north
        latitude, longitude = 49 + y / 111_319.49, 8 + x / 111_319.49 / math.cos(math.radians(49))
        row = f'{latitude:.12f} {longitude:.12f} 112.5 0 0 {yaw:.9f} 0 0 0'
        (drive / 'oxts' / 'data' / f'{k:010d}.txt').write_text(row)
        x, y = x + math.cos(yaw), y + math.sin(yaw)
    for folder in ('image_02', 'oxts'):
        stamps = [f'2011-09-26 13:02:2{5 + k // 10}.{k % 10}00000000' for k in range(count)]
        (drive / folder / 'timestamps.txt').write_text('\n'.join(stamps))
    return drive


def test_a_car_of_kitti_raw_drives_along_its_optical_axis(tmp_path):
    recording = open_recording(write_drive(tmp_path))
    assert recording.layout == 'KITTI raw' and recording.has_times
    first, second = recording.pose(0), recording.pose(1)
    T = np.linalg.inv(first) @ second
    # camera 2 is 6 cm left of camera 0, and moves sideways as the car turns
    np.testing.assert_allclose(T[:3, 3], (0, 0, 1), atol=0.01)
    np.testing.assert_allclose(T[:3, :3], made.turn((0, 1, 0), math.radians(-2)), atol=1e-5)
    (view, *_) = recording.views()
    assert (view.camera.fx, view.camera.cx) == (50, 31.5)


def test_damaged_files_of_kitti_are_named_or_counted(tmp_path):
    drive = write_drive(tmp_path)
    (drive / 'oxts' / 'data' / '0000000003.txt').write_text('95 8 112 0 0 0 0')
    (drive / 'oxts' / 'data' / '0000000004.txt').write_text('nan 8 112 0 0 0 0')
    stamps = (drive / 'oxts' / 'timestamps.txt').read_text().splitlines()
    stamps[5] = '2011-09-26 13:\x00'
    (drive / 'oxts' / 'timestamps.txt').write_text('\n'.join(stamps))
    recording = open_recording(drive)
    assert recording.skipped == {'a pose is no rotation and position': 3}
    assert recording.pose(4) is not None, 'between those of images 2 and 6'
    (drive.parent / 'calib_velo_to_cam.txt').write_text('R: 2 0 0 0 1 0 0 0 1\nT: 0 0 0\n')
    with pytest.raises(ImageError, match=r'velo_to_cam\.txt: R and T are no rotation'):
        open_recording(drive)
    sequence = made.kitti_odometry(tmp_path / 'odometry')
    for times in ('0 0.1 nan 0.3 0.4 0.5', '0 0.1', '0 0.1 1e300 0.3 0.4 0.5'):
        (sequence / 'times.txt').write_text(times.replace(' ', '\n'))
        with pytest.raises(ImageError, match=r'times\.txt must have the time of each image, 6'):
            open_recording(sequence)


# bags ------------------------------------------------------------------------------------------


def test_odom_is_taken_before_map_because_it_never_jumps(tmp_path):
    with Written(tmp_path / 'b') as bag:
        made.images(bag)
        made.tf(bag, 'base', 'camera', MOUNT, START_S, static=True)
        for k, at_s in enumerate(made.times(7)):
            jump = made.pose(made.turn((0, 0, 1), 0.1 * (k % 2)), (k % 2, 0, 0))
            made.tf(bag, 'map', 'odom', jump, at_s)
            made.tf(bag, 'odom', 'base', where(at_s) @ np.linalg.inv(MOUNT), at_s)
    recording = open_recording(tmp_path / 'b')
    assert recording.layout == 'bag, poses of TF odom'
    np.testing.assert_allclose(recording.pose(1), where(START_S + 0.1), atol=1e-5)
    recording = open_recording(tmp_path / 'b', Options(fixed_frame='map'))
    assert recording.layout == 'bag, poses of TF map'
    assert np.abs(recording.pose(1) - where(START_S + 0.1)).max() > 0.5


def test_a_fixed_frame_of_any_name(tmp_path):
    bag = made.tf_bag(tmp_path / 'b', parent='vicon')
    with pytest.raises(ConfigError, match=r"above the frame 'camera' .* base, vicon.*--fixed-fra"):
        open_recording(bag)
    assert open_recording(bag, Options(fixed_frame='/vicon')).views()
    with pytest.raises(ConfigError, match='no --fixed-frame mocap above the camera'):
        open_recording(bag, Options(fixed_frame='mocap'))


def test_a_frame_id_that_tf_does_not_have(tmp_path):
    with Written(tmp_path / 'b') as bag:
        made.images(bag, frame='webcam')
        for at_s in made.times(7):
            made.tf(bag, 'odom', 'camera', where(at_s), at_s)
    with pytest.raises(ConfigError, match=r"no frame above 'webcam'.*all frames: camera, odom"):
        open_recording(tmp_path / 'b')
    recording = open_recording(tmp_path / 'b', Options(camera_frame='camera'))
    np.testing.assert_allclose(recording.pose(2), where(START_S + 0.2), atol=1e-5)


def test_odometry_needs_the_place_of_the_camera(tmp_path):
    bag = made.odometry_bag(tmp_path / 'b', mounted=False)
    with pytest.raises(ConfigError, match=r"'base', and the place of the camera .*--camera-pose"):
        open_recording(bag)
    values = (*MOUNT[:3, 3], *made.quaternion(MOUNT))
    recording = open_recording(bag, Options(camera_pose=values))
    np.testing.assert_allclose(recording.pose(2), where(START_S + 0.2), atol=1e-5)
    with pytest.raises(ConfigError, match=r'--camera-pose is .*; it is x y z qx qy qz qw'):
        open_recording(bag, Options(camera_pose=(1.0, 2.0)))


def test_odometry_of_the_camera_itself(tmp_path):
    with Written(tmp_path / 'b') as bag:
        made.images(bag)
        made.odometry(bag, '/vio', child='/camera', mount=np.eye(4))
    recording = open_recording(tmp_path / 'b')
    assert recording.layout == 'bag, poses of /vio'
    np.testing.assert_allclose(recording.pose(2), where(START_S + 0.2), atol=1e-5)


def test_several_odometries_are_named(tmp_path):
    bag = made.odometry_bag(tmp_path / 'b', topics=('/wheel', '/ekf'))
    with pytest.raises(ConfigError, match=r'2 topics of .*--odometry: /ekf, /wheel'):
        open_recording(bag)
    assert open_recording(bag, Options(odometry='/ekf')).layout == 'bag, poses of /ekf'
    with pytest.raises(ConfigError, match=r'no topic /gps .* it has: /ekf, /wheel'):
        open_recording(bag, Options(odometry='/gps'))


def test_odometry_is_taken_where_tf_ends_at_the_robot(tmp_path):
    with Written(tmp_path / 'b') as bag:
        made.images(bag)
        for at_s in made.times(7):  # the mount on /tf, as some robots publish it
            made.tf(bag, 'base', 'camera', MOUNT, at_s - 0.05)
        made.odometry(bag, '/odom')
    recording = open_recording(tmp_path / 'b')
    assert recording.layout == 'bag, poses of /odom'
    np.testing.assert_allclose(recording.pose(2), where(START_S + 0.2), atol=1e-5)


def test_poses_of_motion_capture(tmp_path):
    """PoseStamped does not tell whose pose it is."""
    with Written(tmp_path / 'b') as bag:
        made.images(bag)
        made.tf(bag, 'base', 'camera', MOUNT, START_S, static=True)
        for at_s in made.times(7):
            T = where(at_s) @ np.linalg.inv(MOUNT)
            position, turned = bag._pose(('Point', 'Quaternion'), T[:3, 3], made.quaternion(T))
            pose = bag.new('geometry_msgs/msg/Pose', position=position, orientation=turned)
            head = bag.header(at_s, 'world')
            stamped = bag.new('geometry_msgs/msg/PoseStamped', header=head, pose=pose)
            bag.write('/vrpn/pose', stamped, at_s)
    with pytest.raises(ConfigError, match=r'a topic of poses with --odometry \(/vrpn/pose\)'):
        open_recording(tmp_path / 'b')
    with pytest.raises(ConfigError, match=r'does not tell whose pose it is.*--pose-frame'):
        open_recording(tmp_path / 'b', Options(odometry='/vrpn/pose'))
    recording = open_recording(tmp_path / 'b', Options(odometry='/vrpn/pose', pose_frame='base'))
    np.testing.assert_allclose(recording.pose(2), where(START_S + 0.2), atol=1e-5)


def test_images_in_a_gap_of_the_poses_are_skipped(tmp_path):
    with Written(tmp_path / 'b') as bag:
        made.images(bag, 30)
        for at_s in made.times(30):
            if not 1.0 < at_s - START_S < 2.0:
                made.tf(bag, 'odom', 'camera', where(at_s), at_s)
    recording = open_recording(tmp_path / 'b')
    assert recording.skipped == {'no pose at the time of the image': 9}
    assert [v.number for v in recording.views()] == [*range(11), *range(20, 30)]
    assert any('skipped 9: no pose' in line for line in recording.summary())


def test_a_robot_that_stood_for_a_while_has_no_gap(tmp_path):
    """Some publish a pose only when it changes."""
    with Written(tmp_path / 'b') as bag:
        made.images(bag, 30)
        for k, at_s in enumerate(made.times(30)):
            T = where(START_S + 0.1 * (min(k, 10) + max(k - 20, 0)))
            if not 10 < k < 20:
                made.tf(bag, 'odom', 'camera', T, at_s)
    recording = open_recording(tmp_path / 'b')
    assert not recording.skipped
    np.testing.assert_allclose(recording.pose(15), where(START_S + 1.0), atol=1e-5)


def test_clocks_that_differ_are_shown(tmp_path):
    with Written(tmp_path / 'b') as bag:
        made.images(bag)
        for k in range(6):  # of a simulation
            made.tf(bag, 'odom', 'camera', where(START_S + k), 5.0 + k)
    with pytest.raises(ConfigError, match=r'of 100\.000 to 100\.500 s, the poses of 5\.000 to 10'):
        open_recording(tmp_path / 'b')


def test_damaged_messages_are_skipped(tmp_path):
    with Written(tmp_path / 'b') as bag:
        made.tf(bag, 'base', 'camera', MOUNT, START_S, static=True)
        for k, at_s in enumerate(made.times(8)):
            made.tf(bag, 'odom', 'base', where(at_s) @ np.linalg.inv(MOUNT), at_s)
            bag.info('/cam/camera_info', at_s, 'camera')
            if k == 3:
                bag.damaged('/cam/image_raw', 'sensor_msgs/msg/Image', at_s)
                bag.damaged('/tf', 'tf2_msgs/msg/TFMessage', at_s)
            else:
                bag.image('/cam/image_raw', at_s, 'camera', made.noise(k))
    recording = open_recording(tmp_path / 'b')
    assert recording.skipped == {'a message cannot be read': 1}
    views = recording.views()
    assert len(views) == 7
    np.testing.assert_array_equal(views[3].rgb.numpy(), made.noise(4))
    np.testing.assert_allclose(views[3].T_world_camera, where(START_S + 0.4), atol=1e-5)


def test_a_trajectory_that_slam_made_of_a_bag(tmp_path):
    """Of the optical frame, or of the robot if --pose-frame says so."""
    with Written(tmp_path / 'b') as bag:
        made.images(bag)
        made.tf(bag, 'base', 'camera', MOUNT, START_S, static=True)
    made.tum(tmp_path / 'camera')
    path = tmp_path / 'camera' / 'groundtruth.txt'
    recording = open_recording(tmp_path / 'b', Options(trajectory=path))
    assert recording.layout == 'bag, poses of groundtruth.txt' and recording.has_times
    np.testing.assert_allclose(recording.pose(2), where(START_S + 0.2), atol=1e-5)
    made.tum(tmp_path / 'robot', way=lambda t: where(t) @ np.linalg.inv(MOUNT))
    path = tmp_path / 'robot' / 'groundtruth.txt'
    recording = open_recording(tmp_path / 'b', Options(trajectory=path, pose_frame='base'))
    np.testing.assert_allclose(recording.pose(2), where(START_S + 0.2), atol=1e-5)


@pytest.mark.parametrize(
    ('given', 'match'),
    [
        ({'odometry': '/odom', 'fixed_frame': 'odom'}, 'there are --fixed-frame and --odometry'),
        ({'pose_frame': 'base', 'fixed_frame': 'odom'}, 'omit them, or --fixed-frame'),
    ],
)
def test_options_that_exclude_each_other(tmp_path, given, match):
    bag = made.tf_bag(tmp_path / 'b')
    with pytest.raises(ConfigError, match=match):
        open_recording(bag, Options(**given))


def test_a_trajectory_for_a_folder_with_its_own_poses_is_refused(tmp_path):
    folder = made.seven_scenes(tmp_path / 'a')
    with pytest.raises(ConfigError, match='7-Scenes, to which --trajectory does not belong'):
        open_recording(folder, Options(trajectory=tmp_path / 'a.txt'))


def test_time_that_goes_back_begins_the_recording_again(tmp_path):
    """As where a simulation is restarted: poses of both runs have the same stamps."""
    with Written(tmp_path / 'b') as bag:
        for run, count in ((0, 30), (1, 6)):
            for k, at_s in enumerate(made.times(count)):
                logged_s = START_S + 10 * run + 0.1 * k
                T = where(at_s) if run else made.pose(np.eye(3), (k, 0, 0))
                for topic, message in _camera_and_pose(bag, at_s, k, T):
                    bag.write(topic, message, logged_s)
    recording = open_recording(tmp_path / 'b')
    assert len(recording.shots) == 6 and sum(recording.skipped.values()) == 30
    for view in recording.views():
        expected = where(START_S + view.number / made.RATE)
        np.testing.assert_allclose(view.T_world_camera, expected, atol=1e-5)
        np.testing.assert_array_equal(view.rgb.numpy(), made.noise(view.number))


def _camera_and_pose(bag, at_s, k, T):
    """Messages whose stamp is not the time at which they are recorded."""
    found = []
    write, bag.write = bag.write, lambda topic, message, at_s: found.append((topic, message))
    bag.info('/cam/camera_info', at_s, 'camera')
    bag.image('/cam/image_raw', at_s, 'camera', made.noise(k))
    made.tf(bag, 'odom', 'camera', T, at_s)
    bag.write = write
    return found


def test_images_without_stamps_are_refused(tmp_path):
    with Written(tmp_path / 'b') as bag:
        for k, at_s in enumerate(made.times(6)):
            for topic, message in _camera_and_pose(bag, START_S, k, where(START_S)):
                if topic != '/tf':
                    bag.write(topic, message, at_s)
            made.tf(bag, 'odom', 'camera', where(at_s), at_s)
    with pytest.raises(ConfigError, match='all 6 images have the stamp 100 s'):
        open_recording(tmp_path / 'b')


def test_a_mount_that_is_no_pose_is_named(tmp_path):
    with Written(tmp_path / 'b') as bag:
        made.images(bag)
        bag.tf('base', 'camera', (0, 0, 0), (0, 0, 0, 0), START_S, static=True)
        for at_s in made.times(7):
            made.tf(bag, 'odom', 'base', where(at_s), at_s)
    with pytest.raises(ConfigError, match=r"TF of 'camera': .*quaternion .* has length 0"):
        open_recording(tmp_path / 'b')


# folders ---------------------------------------------------------------------------------------


def test_images_named_by_time_and_a_trajectory_of_slam(tmp_path):
    made.tum(tmp_path / 'a')
    (tmp_path / 'a' / 'rgb.txt').unlink()
    (tmp_path / 'a' / 'groundtruth.txt').rename(tmp_path / 'a' / 'CameraTrajectory.txt')
    recording = open_recording(tmp_path / 'a')
    np.testing.assert_allclose(recording.pose(2), where(START_S + 0.2), atol=1e-5)
    (tmp_path / 'a' / 'CameraTrajectory.txt').rename(tmp_path / 'mine.txt')
    with pytest.raises(ConfigError, match='is no recording'):
        open_recording(tmp_path / 'a')
    recording = open_recording(tmp_path / 'a', Options(trajectory=tmp_path / 'mine.txt'))
    np.testing.assert_allclose(recording.pose(2), where(START_S + 0.2), atol=1e-5)
    with pytest.raises(ImageError, match=r'none\.txt has no poses: .*check --trajectory'):
        open_recording(tmp_path / 'a', Options(trajectory=tmp_path / 'none.txt'))


def test_poses_without_images_and_images_without_poses_are_counted(tmp_path):
    folder = made.seven_scenes(tmp_path / 'a', 8)
    (folder / 'frame-000001.color.png').unlink()
    (folder / 'frame-000002.pose.txt').unlink()
    (folder / 'frame-000003.pose.txt').write_text('1 2 3')
    infinite = np.full((4, 4), -np.inf)
    (folder / 'frame-000004.pose.txt').write_text(made.matrix(infinite))
    (folder / 'frame-000005.color.png').write_bytes(b'no image')
    recording = open_recording(folder)
    views = recording.views()
    assert [v.name for v in views] == [f'a/frame-{k:06d}.color' for k in (0, 6, 7)]
    reasons = dict(recording.skipped)
    assert reasons.pop('a pose has no image') == 1
    assert reasons.pop('a pose is no rotation and position') == 2
    assert reasons.pop('no pose at the time of the image') == 3
    ((reason, count),) = reasons.items()
    assert count == 1 and 'frame-000005.color.png' in reason
    np.testing.assert_allclose(views[1].T_world_camera, where(START_S + 0.6), atol=1e-5)


def test_a_trajectory_of_another_length_is_refused(tmp_path):
    folder = made.open3d(tmp_path / 'a')
    (folder / 'rgb_00000.png').unlink()
    with pytest.raises(ConfigError, match=r'trajectory\.log has 6 poses for 5 images'):
        open_recording(folder)


def test_mirrored_and_skewed_matrices_are_no_poses(tmp_path):
    folder = made.seven_scenes(tmp_path / 'a', 6)
    for k, flip in enumerate((np.diag((1, 1, -1, 1)), np.diag((1, 2, 1, 1)))):
        file = folder / f'frame-{k:06d}.pose.txt'
        file.write_text(made.matrix(where(START_S) @ flip))
    assert open_recording(folder).skipped['a pose is no rotation and position'] == 2


def test_an_image_that_is_turned_by_exif_is_skipped(tmp_path):
    folder = made.scannet(tmp_path / 'a', 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(made.noise(9)).save(folder / 'color' / '2.jpg', exif=exif)
    recording = open_recording(folder)
    assert [v.number for v in recording.views()] == [0, 1, 3, 4, 5]
    assert recording.skipped['an image is turned by EXIF, and its pose is not'] == 1


def test_a_folder_of_recordings(tmp_path):
    for name in ('seq-01', 'seq-02'):
        made.seven_scenes(tmp_path / 'chess' / name)
    found = open_recordings([str(tmp_path / 'chess')])
    assert [r.name for r in found] == ['chess/seq-01', 'chess/seq-02']
    assert [r.number for r in found] == [0, 1]
    with pytest.raises(ConfigError, match=r'2 recordings; give one of: .*seq-01, .*seq-02'):
        open_recording(tmp_path / 'chess')


def test_a_recording_that_is_named_twice_counts_once(tmp_path):
    one, two = (str(made.seven_scenes(tmp_path / day / 'bag')) for day in ('monday', 'tuesday'))
    found = open_recordings([one, two, f'{one}/../bag'])
    assert [r.name for r in found] == ['bag (1)', 'bag (2)']


@pytest.mark.parametrize(
    ('what', 'match'),
    [
        ('none', 'does not exist'),
        ('file', 'is no recording. Recordings with poses are'),
        ('film', 'is a video, and has no poses.*--poses none'),
        ('empty', 'is no recording'),
        ('pictures', 'is no recording'),
        ('lone', r'no trajectory\.log with poses'),
    ],
)
def test_what_has_no_poses_is_refused_with_the_remedy(tmp_path, what, match):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').write_text('a')
    (tmp_path / 'film').mkdir()
    (tmp_path / 'film' / 'film.mp4').write_bytes(b'a')
    made.picture(tmp_path / 'pictures' / 'a.png', 0)
    made.intrinsics(tmp_path / 'lone')
    made.picture(tmp_path / 'lone' / 'rgb.png', 0)
    path = tmp_path / what / 'film.mp4' if what == 'film' else tmp_path / what
    with pytest.raises(ConfigError, match=match):
        open_recordings([str(path)])


# cameras ---------------------------------------------------------------------------------------


def test_the_camera_of_the_user_replaces_that_of_the_recording(tmp_path):
    folder = made.seven_scenes(tmp_path / 'a')
    (view, *_) = open_recording(folder, Options(camera=GivenCamera(fx=70.0))).views()
    assert view.camera.fx == 70.0
    (folder / 'intrinsics.json').unlink()
    with pytest.raises(CameraError, match='give the focal length by one of --fx'):
        open_recording(folder).views()
    (view, *_) = open_recording(folder, Options(camera=GivenCamera(fx=60.0))).views()
    assert (view.camera.fx, view.camera.cx) == (60.0, 31.5)


def test_a_lens_is_undistorted_and_every_pixel_has_a_source(tmp_path):
    """With pincushion distortion, the pinhole of the same focal length has empty corners."""
    bag = made.tf_bag(tmp_path / 'b', d=(0.3, 0.05, 0.0, 0.0, 0.0))
    recording = open_recording(bag)
    (view, *_) = recording.views()
    assert not view.camera.is_distorted and view.camera.fx > 1.02 * made.FX
    barrel = made.tf_bag(tmp_path / 'c', d=(-0.2, 0.02, 0.0, 0.0, 0.0))
    (view, *_) = open_recording(barrel).views()
    assert not view.camera.is_distorted and view.camera.fx < made.FX


def test_large_images_are_resized_with_their_camera(tmp_path):
    bag = made.tf_bag(tmp_path / 'b', size=(800, 400))
    (view, *_) = open_recording(bag, Options(widest=200)).views()
    assert view.rgb.shape == (100, 200, 3) and view.rgb.dtype == torch.uint8
    assert view.camera.fx == pytest.approx(made.FX / 4)
    expected = made.noise(0, (800, 400)).reshape(100, 4, 200, 4, 3).mean((1, 3))
    assert np.abs(view.rgb.numpy() - expected).max() <= 0.51


def test_images_of_another_size_are_left_out(tmp_path):
    with Written(tmp_path / 'b') as bag:
        for k, at_s in enumerate(made.times(8)):
            size = (32, 24) if k in (2, 5) else made.SIZE
            bag.info('/cam/camera_info', at_s, 'camera', size)
            bag.image('/cam/image_raw', at_s, 'camera', made.noise(k, size))
            made.tf(bag, 'odom', 'camera', where(at_s), at_s)
    recording = open_recording(tmp_path / 'b')
    assert [v.number for v in recording.views()] == [0, 1, 3, 4, 6, 7]
    (reason,) = recording.skipped
    assert recording.skipped[reason] == 2 and reason.startswith('an image of another camera than')


def test_the_options_of_a_command_line(tmp_path):
    parser = argparse.ArgumentParser()
    add_recordings(parser)
    assert options(parser.parse_args(['a'])) == Options()
    words = 'a b --odometry /o --pose-frame p --camera-pose 1 2 3 0 0 0 1 --camera-frame c'
    words += ' --topic /t --fx 70 --every 2 --poses none --trajectory t.txt --fixed-frame f'
    args = parser.parse_args(words.split())
    assert args.recordings == ['a', 'b']
    assert options(args) == Options(
        topic='/t', odometry='/o', fixed_frame='f', pose_frame='p', camera_frame='c',
        camera_pose=[1, 2, 3, 0, 0, 0, 1], trajectory=Path('t.txt'),
        camera=GivenCamera(fx=70.0), selection=Selection(every=2), needs_poses=False,
    )  # fmt: skip


# motion ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('write', [made.tf_bag, made.odometry_bag, made.tum, made.seven_scenes])
def test_a_standing_camera_is_refused(tmp_path, write):
    path = write(tmp_path / 'a', way=made.standing)
    with pytest.raises(ConfigError, match=r'did not move, the positions of its 6 images are wi'):
        open_recording(path)


def test_a_camera_that_only_turns_is_refused(tmp_path):
    path = made.seven_scenes(tmp_path / 'a', way=made.turning)
    with pytest.raises(ConfigError, match=r'turned by 10 deg on the spot.*has no depth: record'):
        open_recording(path)


def test_one_image_is_no_recording(tmp_path):
    with pytest.raises(ConfigError, match='1 image with a pose: record while the robot'):
        open_recording(made.seven_scenes(tmp_path / 'a', 1))


def test_images_that_are_too_far_apart_have_no_partners(tmp_path):
    path = made.seven_scenes(tmp_path / 'a', way=lambda t: where(t, (9, 0, 0)))
    views = open_recording(path).views()
    found = partners(views, 2.5)
    with pytest.raises(ConfigError, match=r'0\.03 to 0\.25 m apart.*image to image it is 0\.9 m'):
        check_partners(found, views, 2.5)
    check_partners(partners(views, 20.0), views, 20.0)


def along(positions, yaw_deg=None):
    yaw_deg = [0.0] * len(positions) if yaw_deg is None else yaw_deg
    return [
        made.pose(made.turn((0, 0, 1), math.radians(a)), (x, 0, 0))
        for x, a in zip(positions, yaw_deg, strict=True)
    ]


def test_images_of_a_robot_that_waits_are_thinned():
    waits = along([0.0] * 50 + [0.02 * k for k in range(10)] + [0.18] * 50)
    assert chosen(waits, 400) == [0, *range(51, 60)]
    turns = along([0.0] * 20, [0.3 * k for k in range(20)])
    assert chosen(turns, 400) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]


def test_too_many_images_become_sparser():
    dense = along([0.011 * k for k in range(300)])
    assert len(chosen(dense, 400)) == 300
    found = np.array(chosen(dense, 100))
    assert 50 < len(found) <= 100
    assert set(np.diff(found)) == {3}, 'evenly, 3.3 cm apart'


def test_of_a_long_way_there_are_runs_with_parallax():
    """1 km with images 2.1 cm apart, and an hour of standing in the middle."""
    x = [0.021 * k for k in range(24_000)]
    poses = along([*x, *[x[-1]] * 1000, *(504 + np.array(x))])
    found = chosen(poses, 400)
    assert 380 <= len(found) <= 400
    at = np.array([poses[k][0, 3] for k in found])
    gaps = np.diff(at)
    assert np.isclose(gaps, 0.042).sum() >= (RUN - 1) * 79, 'within the runs'
    assert at[0] == 0 and at[-1] > 985
    assert np.histogram(at, 10, (0, 1000))[0].min() >= 30, 'spread over the way'


def test_an_hour_long_bag_is_read_with_few_images(tmp_path):
    path = made.tf_bag(tmp_path / 'b', 60)
    views = open_recording(path, Options(most=12)).views()
    assert 5 <= len(views) <= 12 and views[-1].number > 40
    selected = Options(selection=Selection(every=3, limit=10))
    assert len(open_recording(path, selected).shots) == 10
    assert len(open_recording(path, Options(selection=Selection(start_s=2.0))).shots) == 40


@pytest.mark.parametrize('write', [made.tf_bag, made.tum])
def test_a_selection_without_images_is_refused(tmp_path, write):
    options = Options(selection=Selection(start_s=99.0))
    with pytest.raises(ConfigError, match='--start and --end leave none of its 6 images'):
        open_recording(write(tmp_path / 'a'), options)


def test_times_are_not_selected_where_there_are_none(tmp_path):
    path = made.seven_scenes(tmp_path / 'a')
    with pytest.raises(ConfigError, match='have no times, so omit --start'):
        open_recording(path, Options(selection=Selection(end_s=99.0)))
    assert len(open_recording(path, Options(selection=Selection(every=2))).shots) == 3


def test_jumps_of_the_poses_are_named(tmp_path):
    """A map that is corrected; a robot that stops and goes has none."""

    def corrected(at_s):
        T = where(at_s)
        T[0, 3] += 0.4 if at_s - START_S > 1.55 else 0.0
        return T

    recording = open_recording(made.tum(tmp_path / 'a', 40, corrected, shift_s=0.0))
    (doubt,) = recording.doubts
    assert doubt.startswith('1 of 39 steps from image to image are jumps, of up to 0.43 m')
    assert any(doubt in line for line in recording.summary())
    recording = open_recording(made.seven_scenes(tmp_path / 'b', 40, corrected))
    assert len(recording.doubts) == 1
    stops = [0.0] * 20 + [0.02 * k * min(k, 10) / 10 for k in range(40)] + [0.78] * 20
    assert not len(jumps(along(stops), [0] * 80))


def test_an_offset_without_any_pose_is_refused(tmp_path):
    recordings = open_recordings([str(made.tum(tmp_path / 'a'))])
    with pytest.raises(ConfigError, match=r'no image has a pose 1000 s after .*--pose-offset'):
        all_views(recordings, 1000.0)


def test_the_motion_in_numbers():
    found = Motion.of(along([0.0, 0.1, 0.3, 0.2], [0, 2, 4, 4]))
    assert found.path_m == pytest.approx(0.4) and found.extent_m == pytest.approx(0.3)
    assert found.turn_deg == pytest.approx(4) and found.step_deg == pytest.approx(2)
    assert str(found) == '4 poses over 0.40 m, 10 cm and 2.0 deg from image to image'


# several recordings, and none of poses ------------------------------------------------------


def test_images_of_different_recordings_are_never_compared(tmp_path):
    words = [str(made.seven_scenes(tmp_path / name)) for name in ('a', 'b')]
    recordings = open_recordings(words)
    views = all_views(recordings)
    assert [v.recording for v in views] == [0] * 6 + [1] * 6
    found = partners(views, 2.0)
    assert set(found) == set(range(12))
    for k, others in found.items():
        assert all((k < 6) == (other < 6) for other in others)


def test_each_recording_has_its_own_origin(tmp_path):
    """Far from the origin float32 has centimetres."""

    class Small:
        def size(self, camera):
            return 24, 32

    def far(at_s):
        T = where(at_s)
        T[0, 3] += 4e6
        return T

    words = [
        str(made.seven_scenes(tmp_path / 'a')),
        str(made.seven_scenes(tmp_path / 'b', way=far)),
    ]
    views = all_views(open_recordings(words))
    images = Images.of(views, Small(), torch.device('cpu'))
    for k in (0, 6):
        assert torch.allclose(images.poses[k], torch.eye(4), atol=1e-6)
        T = np.linalg.inv(views[k].T_world_camera) @ views[k + 5].T_world_camera
        np.testing.assert_allclose(images.poses[k + 5].numpy(), T, atol=1e-6)


def test_recordings_of_different_cameras_are_refused(tmp_path):
    one, two = made.seven_scenes(tmp_path / 'a'), made.seven_scenes(tmp_path / 'b')
    made.intrinsics(two, fx=60.0)
    with pytest.raises(ConfigError, match=r'b is of the camera .*fx 60.*, and a of .*fx 50'):
        all_views(open_recordings([str(one), str(two)]))


def test_without_poses_neighbours_are_compared(tmp_path):
    wanted = Options(needs_poses=False)
    bag = tmp_path / 'b'
    with Written(bag) as written:
        made.images(written, 6)
    made.picture(tmp_path / 'pictures' / 'a.png', 0)
    made.picture(tmp_path / 'pictures' / 'b.png', 1)
    given = Options(needs_poses=False, camera=GivenCamera(fx=50.0))
    recordings = open_recordings([str(bag)], wanted)
    recordings += open_recordings([str(tmp_path / 'pictures')], given)
    recordings += open_recordings([str(made.tum(tmp_path / 't', way=made.standing))], wanted)
    assert [r.motion for r in recordings] == [None] * 3
    views = [view for recording in recordings for view in recording.views()]
    assert len(views) == 14 and all(v.T_world_camera is None for v in views)
    assert partners(recordings[0].views(), 2.0) == {
        0: (1,), 1: (0, 2), 2: (1, 3), 3: (2, 4), 4: (3, 5), 5: (4,)
    }  # fmt: skip


def test_without_poses_a_video_is_a_recording(tmp_path):
    from recordings import film

    wanted = Options(needs_poses=False, camera=GivenCamera(fx=50.0), most=10)
    recording = open_recording(film(tmp_path / 'film.mp4', 20), wanted)
    views = recording.views()
    assert recording.layout == 'video' and len(views) == 10
    for view in views:  # frame k is of grey level 10 k
        assert float(view.rgb.float().mean()) == pytest.approx(10 * view.number, abs=6)
    found = partners(views, 2.0)
    apart = [abs(views[k].number - views[o].number) for k, others in found.items() for o in others]
    assert apart and max(apart) <= 3


# real recordings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'fx', 'least_gain'),
    [('images/icl_livingroom_open3d', None, 0.6), ('bags/kitchen_7scenes_mcap', 525.0, 0.35)],
)
def test_poses_and_measured_depth_move_real_images_into_others(data, name, fx, least_gain):
    """Frames and direction are right: the inverse motion is worse than none."""
    recording = open_recording(data / name, Options(camera=GivenCamera(fx=fx)))
    views = recording.views()
    (truth,), _ = find([str(data / name)])
    depth = [one.truth(views[0].camera) for one in truth.images(Selection())]
    moved, inverse, still = [], [], []
    for k, others in [*partners(views, 2.0).items()][:20:4]:
        first, second = views[k], views[others[0]]
        z = torch.from_numpy(depth[first.number])
        known = torch.isfinite(z)
        points = rays(first.camera)[None] * z.nan_to_num(1.0).reshape(1, 1, -1)
        rgb = [view.rgb.permute(2, 0, 1)[None].float() / 255 for view in (first, second)]
        T = np.linalg.inv(second.T_world_camera) @ first.T_world_camera
        for errors, T_second_first in ((moved, T), (inverse, np.linalg.inv(T))):
            T_batch = torch.from_numpy(T_second_first).float()[None]
            warped = warp(rgb[1], second.camera, points, T_batch, first.camera.size)
            error = losses.photometric(rgb[0], warped.rgb)
            errors.append(float(losses.average(error, warped.seen & known)))
        still.append(float(losses.average(losses.photometric(*rgb), known[None])))
    assert len(moved) >= 2
    assert np.mean(moved) < (1 - least_gain) * np.mean(still) < np.mean(inverse)


@pytest.mark.parametrize(
    ('name', 'match'),
    [
        ('bags/tum_desk_sqlite3', 'has no poses of the camera'),
        ('bags/kitti_object_lidar_mcap', 'all frames: camera_left_optical_frame, velodyne'),
        ('images/tum_fr2_desk', 'has no poses'),
    ],
)
def test_real_recordings_without_poses_are_refused(data, name, match):
    with pytest.raises(ConfigError, match=match):
        open_recording(data / name)


def test_reading_leaves_no_file_open(tmp_path):
    before = len(os.listdir('/proc/self/fd'))
    for form in ('tf', 'odometry', '7scenes'):
        open_recording(FORMS[form][0](tmp_path / form)).views()
    assert len(os.listdir('/proc/self/fd')) <= before
