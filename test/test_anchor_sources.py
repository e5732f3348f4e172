# SPDX-License-Identifier: Apache-2.0
"""Anchors of each source against scenes whose depth is known exactly."""

import math

import cv2
import numpy as np
import pytest
import torch

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ScaleError
from depth_ros.core.geometry import back_project
from depth_ros.core.types import Floor, Kind
from depth_ros.pipeline.anchors import beam, floor, points, tracks
from depth_ros.pipeline.floor import COLUMNS, ROWS

CAMERA = Camera(320, 240, 300.0, 300.0, 159.5, 119.5)
#: a sensor in the place of the camera, x ahead and z up (REP 103)
AHEAD = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def rotation(degrees: float, axis: tuple[float, float, float]) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(np.radians(degrees) * np.array(axis))[0]
    return T


def translation(*t: float) -> np.ndarray:
    T = np.eye(4)
    T[:3, 3] = t
    return T


def at(z: np.ndarray, anchors) -> np.ndarray:
    return z[np.round(anchors.v).astype(int), np.round(anchors.u).astype(int)]


# --- points


def pillar_and_wall(u: np.ndarray) -> np.ndarray:
    """Depth of columns: a pillar of 0.4 m at 2 m, before a wall at 6 m."""
    x = (u - CAMERA.cx) / CAMERA.fx
    return np.where(np.abs(2 * x) <= 0.2, 2.0, 6.0)


def test_points_hidden_from_the_camera_are_left_out():
    """A LiDAR 0.3 m beside the camera sees the wall behind the pillar."""
    beside = 0.3
    angles = np.radians(np.arange(-25, 25, 0.2))
    x_wall = beside + 6 * np.tan(angles)
    before = np.abs(beside + 2 * np.tan(angles)) <= 0.2
    depth = np.where(before, 2.0, 6.0)
    x = np.where(before, beside + 2 * np.tan(angles), x_wall)
    rows = np.linspace(-0.3, 0.3, 40)
    seen = np.stack([np.stack((x, depth * r, depth), 1) for r in rows]).reshape(-1, 3)
    lidar = seen - (beside, 0, 0)
    found = points.from_points(lidar, translation(beside, 0, 0), CAMERA, sigma=0.02)
    truth = pillar_and_wall(found.u)
    u, v = CAMERA.fx * seen[:, 0] / seen[:, 2] + CAMERA.cx, CAMERA.fy * seen[:, 1] / seen[:, 2]
    inside = (np.abs(u - 159.5) < 160) & (np.abs(v) < 119)
    leaks = np.abs(seen[inside, 2] - pillar_and_wall(u[inside])) > 0.1
    assert leaks.sum() > 50, 'the scene has hidden points'
    edge = np.abs(np.abs((found.u - CAMERA.cx) / CAMERA.fx) - 0.1) < 3 / CAMERA.fx
    np.testing.assert_allclose(found.z[~edge], truth[~edge])
    assert len(found) > 500 and {2.0, 6.0} == set(found.z.round(9))
    assert set(found.sigma) == {0.02}


def test_a_floor_at_a_grazing_angle_is_not_hidden_by_itself():
    x, z = np.meshgrid(np.linspace(-8, 8, 200), np.linspace(3, 30, 400))
    ground = np.stack((x, np.full_like(x, 1.65), z), -1).reshape(-1, 3)
    sensor = translation(0.0, -0.3, -0.3)
    found = points.from_points(ground - sensor[:3, 3], sensor, CAMERA, sigma=0.03)
    whole = points.from_points(ground, np.eye(4), CAMERA, sigma=0.03)
    assert len(found) > 0.9 * len(whole) > 500


def test_of_points_in_one_place_the_nearest_is_kept():
    at_centre = np.array([[0.0, 0, 5], [0.01, 0, 4], [0, 0.01, 9]])
    found = points.from_points(at_centre, np.eye(4), CAMERA, sigma=0.1)
    assert found.z.tolist() == [4.0]
    assert found.u[0] == pytest.approx(159.5 + 300 * 0.01 / 4)


@pytest.mark.parametrize(
    'given',
    [
        np.empty((0, 3)),
        np.full((4, 3), np.nan),
        np.array([[0, 0, -3.0], [0, 0, 0], [np.inf, 0, 2], [100, 0, 1], [0, 0, 0.05], [0, 0, 99]]),
    ],
)
def test_points_that_no_pixel_shows_give_no_anchors(given):
    assert len(points.from_points(given, np.eye(4), CAMERA, sigma=0.1, far=50)) == 0


def test_a_dense_sensor_gives_a_limited_number_over_the_whole_image():
    camera = Camera(1280, 960, 1200.0, 1200.0, 639.5, 479.5)
    dense = points.depth_points(np.full((960, 1280), 3.0, np.float32), camera)
    found = points.from_points(dense, np.eye(4), camera, sigma=0.1)
    assert points.MAX_ANCHORS / 2 < len(found) <= points.MAX_ANCHORS
    assert np.ptp(found.u) > 1200 and np.ptp(found.v) > 900


def test_a_scan_has_its_points_in_the_plane_of_the_sensor():
    ranges = np.array([2.0, np.inf, np.nan, 0.05, 3.0])
    found = points.scan_points(ranges, -math.pi / 2, math.pi / 4, 0.1, 10.0)
    np.testing.assert_allclose(found, [[0, -2, 0], [0, 3, 0]], atol=1e-12)


def test_points_of_a_depth_image_are_those_of_its_pixels():
    z = np.array([[1.0, np.nan], [0.0, 2.5]], np.float32)
    camera = Camera(2, 2, 10.0, 12.0, 0.5, 0.5)
    expected = back_project(torch.from_numpy(z), camera)[[0, 1], [0, 1]].numpy()
    np.testing.assert_allclose(points.depth_points(z, camera), expected, rtol=1e-6)


# --- floor

LEVEL = np.array((0.0, 1.0, 0.0))


def floor_scene(down: np.ndarray, height: float) -> np.ndarray:
    """(H, W) depth of a floor, NaN above the horizon."""
    u, v = np.meshgrid(np.arange(320), np.arange(240))
    rays = np.stack(((u - CAMERA.cx) / 300, (v - CAMERA.cy) / 300, np.ones_like(u)), -1)
    towards = rays @ down
    with np.errstate(divide='ignore'):
        return np.where(towards > 0.02, height / towards, np.nan)


@pytest.mark.parametrize('pitch', [0.0, 12.0, 35.0])
@pytest.mark.parametrize('roll', [0.0, -6.0])
@pytest.mark.parametrize(
    ('kind', 'predict'),
    [
        (Kind.METRIC, lambda z: 1.3 * z),
        (Kind.SCALE_INVARIANT, lambda z: 0.01 * z),
        (Kind.AFFINE_INVERSE, lambda z: 7 / z + 3),
    ],
)
def test_a_floor_gives_its_depth_whatever_the_unit_of_the_network(kind, predict, pitch, roll):
    turn = rotation(pitch, (1, 0, 0)) @ rotation(roll, (0, 0, 1))
    down = turn[:3, :3] @ LEVEL
    z = floor_scene(down, 0.4)
    seen = predict(z)
    seen[120:200, 40:120] = predict(1.1)  # a box stands on it
    found = floor.from_floor(torch.from_numpy(seen), kind, CAMERA, Floor(0.4, down))
    assert len(found) > 150
    np.testing.assert_allclose(found.z, at(z, found), rtol=1e-6)
    on_box = (np.abs(found.u - 80) < 40) & (np.abs(found.v - 160) < 40)
    assert on_box.sum() < 0.25 * COLUMNS * ROWS / 6, (
        'only where the box and the floor are equally far'
    )
    assert (found.sigma > 0.01 * found.z / 0.4).all()


def test_normals_find_a_floor_that_boxes_hide_for_the_most_part():
    z = floor_scene(LEVEL, 0.4)
    seen, normals = z.copy(), np.tile(LEVEL * -1.0, (*z.shape, 1))
    for k in range(8):
        columns = slice(40 * k, 40 * k + 34)
        seen[110:, columns] = 0.7 + 0.13 * (k * 3 % 7)
        normals[110:, columns] = 0, 0, -1
    normals = torch.from_numpy(normals.astype(np.float32))
    arguments = torch.from_numpy(seen), Kind.METRIC, CAMERA, Floor(0.4, LEVEL)
    with pytest.raises(ScaleError, match='no floor'):
        floor.from_floor(*arguments)
    found = floor.from_floor(*arguments, normals)
    np.testing.assert_allclose(found.z, at(z, found), rtol=1e-6)
    assert (found.u.astype(int) % 40 >= 34).all(), 'none is on a box'


def test_noise_of_a_network_does_not_move_the_floor():
    z = floor_scene(LEVEL, 1.2)
    noisy = z * np.exp(np.random.default_rng(1).normal(0, 0.05, z.shape))
    found = floor.from_floor(torch.from_numpy(noisy), Kind.METRIC, CAMERA, Floor(1.2, LEVEL))
    np.testing.assert_allclose(found.z, at(z, found), rtol=1e-6)
    assert len(found) > 100


@pytest.mark.parametrize('kind', [Kind.METRIC, Kind.AFFINE_INVERSE])
@pytest.mark.parametrize(
    'values',
    [
        np.full((240, 320), 2.0),  # a wall
        np.full((240, 320), np.nan),
        np.full((240, 320), np.inf),
        np.random.default_rng(0).uniform(1, 9, (240, 320)),
        np.tile(1 / np.linspace(3, 0.2, 320), (240, 1)),  # a wall seen from the side
    ],
    ids=['wall', 'nothing', 'sky', 'noise', 'side wall'],
)
def test_without_a_floor_there_is_a_reason(kind, values):
    with pytest.raises(ScaleError, match=r'no floor: a plane with its direction fills \d+ %'):
        floor.from_floor(torch.from_numpy(values), kind, CAMERA, Floor(1.0, LEVEL))


# --- beam


def test_a_beam_is_the_median_of_its_cone():
    values = torch.full((240, 320), 9.0)
    values[100:140, 130:190] = 2.0  # what most of the cone sees
    values[118:122, 150:170] = 1.0  # a thin thing
    found = beam.from_beam(values, 2.5, 0.15, AHEAD, CAMERA, sigma=0.05)
    assert len(found) == 1 and at(values.numpy(), found)[0] == 2.0
    assert found.z[0] == pytest.approx(2.5, rel=0.01) and found.sigma[0] == 0.05


def test_a_beam_outside_of_the_image_is_named():
    sideways = AHEAD @ rotation(90, (0, 0, 1))
    for T in (sideways, AHEAD @ rotation(180, (0, 0, 1))):
        with pytest.raises(ScaleError, match='outside of the image'):
            beam.from_beam(torch.ones(240, 320), 2.0, 0.3, T, CAMERA, sigma=0.05)
    with pytest.raises(ScaleError, match='no depth in the beam'):
        beam.from_beam(torch.full((240, 320), torch.nan), 2.0, 0.3, AHEAD, CAMERA, sigma=0.05)


# --- tracks

NORMAL = np.array((0.3, 0.1, -1.0)) / np.linalg.norm((0.3, 0.1, -1.0))
DISTANCE = 3.0  # of the plane from the first camera, along its normal


def wall_image(T_first_now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) and depth (H, W) of a slanted wall with a texture, from a pose."""
    texture = cv2.resize(
        np.random.default_rng(2).integers(0, 256, (60, 80), np.uint8), (1280, 960),
        interpolation=cv2.INTER_CUBIC,
    )  # fmt: skip
    u, v = np.meshgrid(np.arange(320), np.arange(240))
    rays = np.stack(((u - CAMERA.cx) / 300, (v - CAMERA.cy) / 300, np.ones_like(u, float)), -1)
    R, t = T_first_now[:3, :3], T_first_now[:3, 3]
    z = (-DISTANCE - t @ NORMAL) / (rays @ R.T @ NORMAL)
    on_wall = (rays * z[..., None]) @ R.T + t
    x, y = ((on_wall[..., k] * 120 + size).astype(np.float32) for k, size in ((0, 640), (1, 480)))
    gray = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.repeat(gray[..., None], 3, 2), z


def poses(count: int, step: tuple[float, float, float], turn: float = 0.0) -> list[np.ndarray]:
    return [
        translation(*(k * np.array(step))) @ rotation(k * turn, (0, 1, 0)) for k in range(count)
    ]


def follow(seen: tracks.Tracks, path: list[np.ndarray], start_ns: int = 10**9):
    T_odom_first = translation(5, 6, 7) @ rotation(50, (0, 0.6, 0.8))
    for k, T in enumerate(path):
        rgb, z = wall_image(T)
        found = seen.update(rgb, CAMERA, T_odom_first @ T, start_ns + k * 10**8)
    return found, z


def test_tracked_corners_have_the_depth_of_the_wall():
    found, z = follow(tracks.Tracks(), poses(8, (0.05, 0.0, 0.02), turn=0.5))
    assert len(found) > 60
    ratio = found.z / at(z, found)
    assert abs(np.median(ratio) - 1) < 0.01
    assert np.mean(np.abs(ratio - 1) < 3 * found.sigma / found.z) > 0.95


def test_turning_on_the_spot_measures_nothing():
    found, _ = follow(tracks.Tracks(), poses(8, (0, 0, 0), turn=0.7))
    assert len(found) == 0


def test_what_was_measured_stays_while_the_camera_rests():
    path = poses(8, (0.05, 0.0, 0.0))
    found, z = follow(tracks.Tracks(), path + [path[-1]] * 80)  # 8 s
    assert len(found) > 60 and abs(np.median(found.z / at(z, found)) - 1) < 0.01
    # after so much motion, corners that are still seen are dropped with the poses they came from
    back_and_forth = (path[:4] + path[3:0:-1]) * 10
    seen = tracks.Tracks()
    follow(seen, back_and_forth)
    assert max(seen._moved_s - track.moved_s for track in seen._tracks) <= tracks.MAX_AGE_S


def test_wrong_odometry_does_not_look_right():
    """Odometry sideways, but the camera moved up: no corner is on its epipolar line."""
    seen = tracks.Tracks()
    for k, T in enumerate(poses(8, (0, -0.06, 0))):
        found = seen.update(
            wall_image(T)[0], CAMERA, translation(0.06 * k, 0, 0), 10**9 + k * 10**8
        )
    assert len(found) == 0


def test_time_that_goes_back_or_another_camera_starts_again():
    seen = tracks.Tracks()
    assert len(follow(seen, poses(8, (0.05, 0, 0)))[0]) > 0
    rgb, _ = wall_image(np.eye(4))
    assert len(seen.update(rgb, CAMERA, translation(1, 1, 1), 5 * 10**8)) == 0
    assert len(follow(seen, poses(8, (0.05, 0, 0)))[0]) > 0
    half = cv2.resize(rgb, (160, 120))
    assert len(seen.update(half, CAMERA.resized(160, 120), translation(1, 1, 1), 2 * 10**9)) == 0


def test_an_image_without_corners_has_no_anchors():
    seen, gray = tracks.Tracks(), np.full((240, 320, 3), 90, np.uint8)
    for k in range(4):
        found = seen.update(gray, CAMERA, translation(0.1 * k, 0, 0), k * 10**8)
    assert len(found) == 0


def test_large_images_are_tracked_at_half_the_size_in_their_own_pixels():
    camera = CAMERA.resized(1280, 960)
    seen = tracks.Tracks()
    for k, T in enumerate(poses(6, (0.06, 0, 0))):
        rgb, z = wall_image(T)
        large = cv2.resize(rgb, (1280, 960), interpolation=cv2.INTER_LINEAR)
        found = seen.update(large, camera, T, k * 10**8)
    assert np.ptp(found.u) > 700
    truth = cv2.resize(z, (1280, 960), interpolation=cv2.INTER_LINEAR)
    assert abs(np.median(found.z / at(truth, found)) - 1) < 0.01
