# SPDX-License-Identifier: Apache-2.0
"""Recordings of cars and drones as folders: KITTI odometry, KITTI raw and EuRoC."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError, ConfigError, ImageError
from depth_ros.core.rotations import rotation_from_quaternion
from depth_ros.messages.camera_info import ALIASES
from depth_ros.offline.adapt.posed import Options, Poses, PosesByImage, PosesByTime, Source
from depth_ros.offline.adapt.posed_folders import (
    NO_IMAGE,
    NOT_RIGID,
    is_picture,
    numbers_of,
    rigid,
    shot_name,
    source_of,
)
from depth_ros.pipeline.two_views.poses import Pose4x4, Track, pose_from_quaternion

LATEST_S = 1e10  #: year 2286
EARTH_M = 6378137.0  #: radius at the equator
MOST_NORTH_DEG = 85.0  #: of a Mercator projection
#: cameras of KITTI in the order in which they are looked for: colour first
CAMERAS = ('2', '3', '0', '1')


def kitti_odometry(path: Path, name: str, options: Options) -> Source | None:
    """A sequence of KITTI odometry: image_2/ (or 3, 0, 1), calib.txt, poses.txt, times.txt.

    The poses, 12 numbers a line, are of camera 0. They may also be in ../../poses/NAME.txt, where
    the data set has them. Without times.txt the poses cannot be shifted in time.

    Raises:
        ImageError: calib.txt cannot be used.
    """
    if not (path / 'calib.txt').is_file():
        return None
    which = next((c for c in CAMERAS if (path / f'image_{c}').is_dir()), None)
    if which is None:
        return None
    images = sorted(p for p in (path / f'image_{which}').iterdir() if is_picture(p))
    if not images:
        raise ImageError(f'{path / f"image_{which}"} has no images')
    camera, T_cam0_camera = _projection(path / 'calib.txt', f'P{which}', images[0])
    by_number = {_number(image, k): image for k, image in enumerate(images)}
    times = _times(path / 'times.txt', max(by_number) + 1)
    rows = _rows(path, (path / 'poses.txt', path.parent.parent / 'poses' / f'{path.name}.txt'))
    skipped: Counter[str] = Counter()
    track, by_image = Track(), {}
    for k, row in enumerate(rows):
        if (T := rigid(row, 12)) is None:
            skipped[NOT_RIGID] += 1
        elif k not in by_number:
            skipped[NO_IMAGE] += 1
        else:
            by_image[shot_name(name, by_number[k])] = T @ T_cam0_camera
            if times:
                track.add(round(times[k] * 1e9), T @ T_cam0_camera)
    files = [(p, round(times[k] * 1e9) if times else 0) for k, p in sorted(by_number.items())]
    poses: Poses | None = PosesByTime(track) if times else PosesByImage(by_image)
    lacks = f'there is no poses.txt with 12 numbers a line, nor ../../poses/{path.name}.txt'
    return source_of(
        path, name, 'KITTI odometry', files, camera, poses if by_image else None, lacks, skipped,
        options,
    )  # fmt: skip


def _times(file: Path, count: int) -> list[float]:
    """Seconds of each image; none without the file.

    Raises:
        ImageError: the file does not have them.
    """
    if not file.is_file():
        return []
    times = numbers_of(file)
    if len(times) < count or not np.isfinite(times).all() or max(times) > LATEST_S:
        raise ImageError(f'{file} must have the time of each image, {count} lines of seconds')
    return times


def _number(image: Path, k: int) -> int:
    return int(image.stem) if image.stem.isdigit() else k


def _rows(path: Path, files: Sequence[Path]) -> list[list[float]]:
    """Numbers of each line of the first file that is there; an empty row for a damaged line."""
    for file in files:
        if file.is_file():
            return [_row(line) for line in file.read_text(errors='replace').splitlines() if line]
    return []


def _row(line: str) -> list[float]:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return []


def _matrices(path: Path) -> dict[str, list[float]]:
    """Name -> numbers of a calibration file of KITTI."""
    try:
        lines = path.read_text(errors='replace').splitlines()
    except OSError as error:
        raise ImageError(f'{path} is no calibration: {error.strerror}') from error
    parts = (line.partition(':') for line in lines)
    return {key.strip(): _row(values) for key, _, values in parts}


def _projection(file: Path, key: str, image: Path) -> tuple[Camera, Pose4x4]:
    """A rectified camera, and its pose in the frame of camera 0, by P = K [1 | t].

    Raises:
        ImageError: the file does not have the matrix.
    """
    p = _matrices(file).get(key, [])
    try:
        with Image.open(image) as opened:
            width, height = opened.size
        camera = Camera(width, height, p[0], p[5], p[2], p[6])
        K = np.array([[p[0], 0, p[2]], [0, p[5], p[6]], [0, 0, 1]])
        T = np.eye(4)
        T[:3, 3] = -np.linalg.solve(K, [p[3], p[7], p[11]])
    except (OSError, IndexError, CameraError) as error:
        raise ImageError(
            f'{file} must have {key} with 12 numbers, for {image} ({type(error).__name__}: '
            f'{error})'
        ) from error
    return camera, T


def kitti_raw(path: Path, name: str, options: Options) -> Source | None:
    """A drive of KITTI raw: image_02/data and oxts/data with GPS and IMU.

    calib_cam_to_cam.txt, calib_velo_to_cam.txt and calib_imu_to_velo.txt are in the drive or the
    folder above.

    Raises:
        ImageError: the calibration is missing.
    """
    oxts = sorted((path / 'oxts' / 'data').glob('*.txt'))
    which = next((c for c in CAMERAS if (path / f'image_0{c}' / 'data').is_dir()), None)
    if not oxts or which is None:
        return None
    folder = path / f'image_0{which}'
    images = sorted(p for p in (folder / 'data').iterdir() if is_picture(p))
    if not images:
        raise ImageError(f'{folder / "data"} has no images')
    calibration = next(
        (p for p in (path, path.parent) if (p / 'calib_cam_to_cam.txt').is_file()), path.parent
    )
    cam_to_cam = calibration / 'calib_cam_to_cam.txt'
    camera, T_cam0_camera = _projection(cam_to_cam, f'P_rect_0{which}', images[0])
    T_rect_cam0 = np.eye(4)
    T_rect_cam0[:3, :3] = _shaped(cam_to_cam, 'R_rect_00', (3, 3))
    if rigid(list(T_rect_cam0.ravel()), 16) is None:
        raise ImageError(f'{cam_to_cam}: R_rect_00 is no rotation')
    T_cam0_imu = (
        T_rect_cam0
        @ _rigid_file(calibration / 'calib_velo_to_cam.txt')
        @ _rigid_file(calibration / 'calib_imu_to_velo.txt')
    )
    T_imu_camera = np.linalg.inv(T_cam0_imu) @ T_cam0_camera
    image_ns, pose_ns = _timestamps(folder), _timestamps(path / 'oxts')
    track, skipped = Track(), Counter[str]()
    scale = None
    for k, file in enumerate(oxts):
        row, number = numbers_of(file), _number(file, k)
        is_place = len(row) >= 6 and np.isfinite(row[:6]).all() and abs(row[0]) < MOST_NORTH_DEG
        if not is_place or number not in pose_ns:
            skipped[NOT_RIGID] += 1
            continue
        scale = math.cos(math.radians(row[0])) if scale is None else scale
        track.add(pose_ns[number], _by_gps(row, scale) @ T_imu_camera)
    files = []
    for k, image in enumerate(images):
        if _number(image, k) in image_ns:
            files.append((image, image_ns[_number(image, k)]))
        else:
            skipped['an image has no time'] += 1
    lacks = 'oxts/data has no poses with times (oxts/timestamps.txt)'
    poses = PosesByTime(track) if len(track) else None
    return source_of(path, name, 'KITTI raw', files, camera, poses, lacks, skipped, options)


def _by_gps(row: Sequence[float], scale: float) -> Pose4x4:
    """T_world_imu of latitude, longitude [deg], altitude [m], roll, pitch, yaw [rad].

    Positions are by the Mercator projection, with the scale of the first latitude: metres.
    """
    latitude, longitude, altitude, roll, pitch, yaw = row[:6]
    T = np.eye(4)
    T[0, 3] = scale * EARTH_M * math.radians(longitude)
    T[1, 3] = scale * EARTH_M * math.log(math.tan(math.radians(90 + latitude) / 2))
    T[2, 3] = altitude
    turns = ((0, 0, 1, yaw), (0, 1, 0, pitch), (1, 0, 0, roll))
    for x, y, z, angle in turns:
        half = math.sin(angle / 2)
        q = np.array((x * half, y * half, z * half, math.cos(angle / 2)))
        T[:3, :3] = T[:3, :3] @ rotation_from_quaternion(q)
    return T


def _shaped(file: Path, key: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    """A matrix of a calibration file.

    Raises:
        ImageError: the file does not have it.
    """
    found = np.array(_matrices(file).get(key, []), np.float64)
    if found.size != shape[0] * shape[1]:
        raise ImageError(f'{file} must have {key} with {shape[0] * shape[1]} numbers')
    return found.reshape(shape)


def _rigid_file(file: Path) -> Pose4x4:
    """R and T of a calibration file.

    Raises:
        ImageError: the file does not have them.
    """
    R, t = _shaped(file, 'R', (3, 3)), _shaped(file, 'T', (3, 1))
    if (T := rigid(list(np.hstack((R, t)).ravel()), 12)) is None:
        raise ImageError(f'{file}: R and T are no rotation and position')
    return T


def _timestamps(folder: Path) -> dict[int, int]:
    """Number of a frame -> time [ns], of timestamps.txt; empty without it."""
    found: dict[int, int] = {}
    try:
        lines = (folder / 'timestamps.txt').read_text(errors='replace').splitlines()
    except OSError:
        return found
    for k, line in enumerate(lines):
        date, _, fraction = line.strip().partition('.')
        try:
            at = datetime.strptime(date, '%Y-%m-%d %H:%M:%S').replace(tzinfo=timezone.utc)
            found[k] = int(at.timestamp()) * 10**9 + int(fraction[:9].ljust(9, '0'))
        except ValueError:  # the others are there
            continue
    return found


def euroc(path: Path, name: str, options: Options) -> Source | None:
    """EuRoC: mav0/cam0 with data.csv and sensor.yaml, and the state of the IMU or of Leica.

    Raises:
        ImageError: sensor.yaml cannot be used.
    """
    base = path / 'mav0' if (path / 'mav0').is_dir() else path
    cam = base / 'cam0'
    if not (cam / 'data').is_dir() or not (cam / 'sensor.yaml').is_file():
        return None
    images = sorted(p for p in (cam / 'data').iterdir() if is_picture(p) and p.stem.isdigit())
    camera, T_body_camera = _sensor(cam / 'sensor.yaml')
    states = base / 'state_groundtruth_estimate0' / 'data.csv'
    track, skipped = Track(), Counter[str]()
    lines = states.read_text(errors='replace').splitlines() if states.is_file() else []
    for line in lines:
        stamp, _, values = line.replace(',', ' ').strip().partition(' ')
        if not stamp.isdigit():
            continue  # the heading
        row = _row(values)
        try:
            x, y, z, qw, qx, qy, qz = row[:7]
            track.add(int(stamp), pose_from_quaternion(x, y, z, qx, qy, qz, qw) @ T_body_camera)
        except (ValueError, ConfigError):
            skipped[NOT_RIGID] += 1
    lacks = f'there is no {states.parent.name}/data.csv'
    files = [(image, int(image.stem)) for image in images]
    poses = PosesByTime(track) if len(track) else None
    return source_of(path, name, 'EuRoC', files, camera, poses, lacks, skipped, options)


def _sensor(file: Path) -> tuple[Camera, Pose4x4]:
    """Camera, and its pose in the body, of a sensor.yaml.

    Raises:
        ImageError: it cannot be used.
    """
    try:
        lines = file.read_text().splitlines()
        # OpenCV's %YAML:1.0 is no directive of YAML
        found = yaml.safe_load('\n'.join(line for line in lines if not line.startswith('%')))
        fx, fy, cx, cy = map(float, found['intrinsics'])
        d = tuple(map(float, found['distortion_coefficients']))
        model = str(found['distortion_model'])
        model = 'plumb_bob' if model.startswith('rad') else ALIASES.get(model, model)
        width, height = map(int, found['resolution'])
        camera = Camera(width, height, fx, fy, cx, cy, model, d)
        T = rigid([float(v) for v in found['T_BS']['data']], 16)
        if T is None:
            raise ValueError('T_BS is no rotation and position')
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, CameraError) as error:
        raise ImageError(
            f'{file} must have intrinsics, resolution, distortion and T_BS '
            f'({type(error).__name__}: {error})'
        ) from error
    return camera, T
