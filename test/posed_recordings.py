# SPDX-License-Identifier: Apache-2.0
"""Small recordings of a camera whose way is known at all times, in all layouts."""

import json
import math

import cv2
import numpy as np
from bag_writer import Written, WrittenRos1

from depth_ros.core.rotations import quaternion_from_rotation, rotation_from_quaternion

START_S, RATE = 100.0, 10.0
SIZE, FX = (64, 48), 50.0
#: of a camera that looks forward (x) of a robot: x of the image is -y, y is -z
OPTICAL = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)


def turn(axis, angle):
    """Rotation (3, 3) about an axis by an angle [rad]."""
    axis = np.array(axis, float) / np.linalg.norm(axis)
    return rotation_from_quaternion(np.array([*(math.sin(angle / 2) * axis), math.cos(angle / 2)]))


def pose(R, t):
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    return T


#: T_base_camera
MOUNT = pose(OPTICAL @ turn((1, 2, 0.5), 0.3), (0.2, -0.05, 0.4))


def where(at_s, speed=(0.3, 0.2, 0.1), rate_deg=8.0):
    """T_world_camera at a time; straight, and turning evenly."""
    since = at_s - START_S
    R = OPTICAL @ turn((0.3, 1, 0.2), math.radians(rate_deg) * since)
    return pose(R, np.array((12.0, -7.0, 1.5)) + since * np.array(speed))


def standing(at_s):
    return where(at_s, (0, 0, 0), 0)


def turning(at_s):
    return where(at_s, (0, 0, 0), 20)


def quaternion(T):
    return tuple(quaternion_from_rotation(T[:3, :3]))


def times(count):
    return [START_S + k / RATE for k in range(count)]


def noise(k, size=SIZE):
    """(H, W, 3) uint8 of image k."""
    return np.random.default_rng(k).integers(0, 256, (size[1], size[0], 3), np.uint8)


def picture(path, k, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), noise(k, size))


def intrinsics(path, **more):
    width, height = SIZE
    camera = {'fx': FX, 'fy': FX, 'cx': (width - 1) / 2, 'cy': (height - 1) / 2}
    path.mkdir(parents=True, exist_ok=True)
    (path / 'intrinsics.json').write_text(json.dumps({**camera, **more}))


def matrix(T, rows=4):
    return '\n'.join(' '.join(f'{v:.12g}' for v in row) for row in T[:rows])


def tum(path, count=6, way=where, shift_s=-0.03):
    """Poses are at other times than images."""
    intrinsics(path)
    for k, at_s in enumerate(times(count)):
        picture(path / 'rgb' / f'{at_s:.6f}.png', k)
    files = [f'{t:.6f} rgb/{t:.6f}.png' for t in times(count)]
    (path / 'rgb.txt').write_text('# color images\n' + '\n'.join(files) + '\n')
    lines = []
    for at_s in [*times(count + 1)]:
        T = way(at_s + shift_s)
        numbers = ' '.join(f'{v:.12g}' for v in (*T[:3, 3], *quaternion(T)))
        lines.append(f'{at_s + shift_s:.6f} {numbers}')
    (path / 'groundtruth.txt').write_text('# stamp tx ty tz qx qy qz qw\n' + '\n'.join(lines))
    return path


def seven_scenes(path, count=6, way=where):
    intrinsics(path)
    for k, at_s in enumerate(times(count)):
        picture(path / f'frame-{k:06d}.color.png', k)
        (path / f'frame-{k:06d}.pose.txt').write_text(matrix(way(at_s)))
    return path


def scannet(path, count=12, way=where):
    K = np.eye(4)
    K[:2, :3] = [[FX, 0, 31.5], [0, FX, 23.5]]
    for folder in ('pose', 'intrinsic'):
        (path / folder).mkdir(parents=True)
    (path / 'intrinsic' / 'intrinsic_color.txt').write_text(matrix(K))
    for k, at_s in enumerate(times(count)):
        picture(path / 'color' / f'{k}.jpg', k)
        (path / 'pose' / f'{k}.txt').write_text(matrix(way(at_s)))
    return path


def open3d(path, count=6, way=where):
    intrinsics(path)
    for k in range(count):
        picture(path / f'rgb_{k:05d}.png', k)
    parts = [f'{k} {k} {k + 1}\n{matrix(way(t))}' for k, t in enumerate(times(count))]
    (path / 'trajectory.log').write_text('\n'.join(parts) + '\n')
    return path


def kitti_odometry(path, count=6, way=where, timed=True):
    """Images of camera 2, which is 6 cm to the left of camera 0; poses are of camera 0."""
    T_cam0_camera = pose(np.eye(3), (-0.06, 0.01, 0.002))
    K = np.array([[FX, 0, 31.5], [0, FX, 23.5], [0, 0, 1]])
    P = K @ np.linalg.inv(T_cam0_camera)[:3]
    for k in range(count):
        picture(path / 'image_2' / f'{k:06d}.png', k)
    (path / 'calib.txt').write_text('P2: ' + ' '.join(f'{v:.12g}' for v in P.ravel()) + '\n')
    poses = (way(t) @ np.linalg.inv(T_cam0_camera) for t in times(count))
    (path / 'poses.txt').write_text(
        '\n'.join(' '.join(f'{v:.12g}' for v in T[:3].ravel()) for T in poses)
    )
    if timed:
        (path / 'times.txt').write_text('\n'.join(f'{t - START_S:e}' for t in times(count)))
    return path


def euroc(path, count=6, way=where):
    cam, state = path / 'mav0' / 'cam0', path / 'mav0' / 'state_groundtruth_estimate0'
    state.mkdir(parents=True)
    lines = ['#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w []']
    for k, at_s in enumerate(times(count)):
        picture(cam / 'data' / f'{round(at_s * 1e9)}.png', k)
    for at_s in times(count + 1):
        T = way(at_s - 0.02) @ np.linalg.inv(MOUNT)
        x, y, z, w = quaternion(T)
        values = (*T[:3, 3], w, x, y, z, 0.1, 0.2, 0.3)
        lines.append(f'{round((at_s - 0.02) * 1e9)},' + ','.join(f'{v:.12g}' for v in values))
    (state / 'data.csv').write_text('\n'.join(lines) + '\n')
    data = ', '.join(f'{v:.12g}' for v in MOUNT.ravel())
    (cam / 'sensor.yaml').write_text(
        f'%YAML:1.0\nT_BS:\n  cols: 4\n  rows: 4\n  data: [{data}]\n'
        f'resolution: [64, 48]\nintrinsics: [{FX}, {FX}, 31.5, 23.5]\n'
        'distortion_model: radial-tangential\ndistortion_coefficients: [0.0, 0.0, 0.0, 0.0]\n'
    )
    return path


def images(made, count=6, frame='camera', size=SIZE, **info):
    for k, at_s in enumerate(times(count)):
        made.info('/cam/camera_info', at_s, frame, size, FX, **info)
        made.image('/cam/image_raw', at_s, frame, noise(k, size))


def tf(made, parent, child, T, at_s, static=False):
    made.tf(parent, child, T[:3, 3], quaternion(T), at_s, static)


def odometry(made, topic, count=6, way=where, child='base', mount=MOUNT):
    for at_s in times(count + 1):
        T = way(at_s - 0.04) @ np.linalg.inv(mount)
        made.odometry(topic, at_s - 0.04, child, T[:3, 3], quaternion(T))


def tf_bag(path, count=6, way=where, parent='odom', compressed='', size=SIZE, **info):
    """TF at other times than the images: odom -> base, and base -> camera, which stays."""
    with WrittenRos1(path) if path.suffix == '.bag' else Written(path, compressed) as made:
        images(made, count, size=size, **info)
        tf(made, 'base', 'camera', MOUNT, START_S, static=True)
        for at_s in times(count + 1):
            tf(made, parent, 'base', way(at_s - 0.04) @ np.linalg.inv(MOUNT), at_s - 0.04)
    return path


def odometry_bag(path, count=6, way=where, mounted=True, topics=('/odom',), child='base'):
    with Written(path) as made:
        images(made, count)
        if mounted:
            tf(made, 'base', 'camera', MOUNT, START_S, static=True)
        for topic in topics:
            odometry(made, topic, count, way, child)
    return path
