# SPDX-License-Identifier: Apache-2.0
"""The filters of point clouds: cells of space, and the floor."""

import dataclasses

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from depth_ros.core import geometry
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.geometry import rays
from depth_ros.core.types import DepthMap, Floor, Frame
from depth_ros.models.flat import Flat
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import FloorSettings, Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.filters import ground, voxel
from depth_ros.pipeline.filters.clouds import surfaces
from depth_ros.pipeline.floor import given_floor

nan, inf = torch.nan, torch.inf


def cells_of(points, size):
    return np.floor(points[:, :3].numpy() / np.float32(size)).astype(int)


def some_points(count=20_000, spread=3.0):
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(count, 4, generator=generator) * 2 * spread - spread
    points[:, 2] += spread + 0.5
    return points


# Voxels


@pytest.mark.parametrize('size', [0.02, 0.1, 0.7])
def test_each_cell_keeps_one_point_of_its_own(size):
    points = some_points()
    kept = voxel.is_kept(points, size)
    cells, left = cells_of(points, size), cells_of(points[kept], size)
    assert {*map(tuple, left)} == {*map(tuple, cells)}, 'no cell is lost'
    assert len(left) <= 1.02 * len({*map(tuple, cells)}), 'rarely one keeps two'


def test_cells_grow_with_the_distance():
    points = some_points(60_000, 10.0)
    even, grown = voxel.is_kept(points, 0.1), voxel.is_kept(points, 0.1, 0.1)
    near, far = points[:, 2] <= 1.0, points[:, 2] > 8.0
    assert torch.equal(even[near], grown[near])
    # from 8 m on a cell has 1.6 m at least, instead of 0.1 m
    expected = {*map(tuple, cells_of(points[far & (points[:, 2] <= 16.0)], 1.6))}
    found = grown[far & (points[:, 2] <= 16.0)].sum()
    assert len(expected) <= found <= 1.05 * len(expected)
    assert even[far].sum() > 20 * found


def test_far_and_few_points_pass():
    points = torch.tensor([[1e4, -1e4, 1e4, 0.0], [0.0, 0.0, 1.0, 0.0], [0.001, 0.0, 1.0, 0.0]])
    assert voxel.is_kept(points, 0.01).tolist() == [True, False, True]
    assert voxel.is_kept(points[:0], 0.1).shape == (0,)
    assert voxel.is_kept(points[:1], 0.1, 0.5).tolist() == [True]


@pytest.mark.parametrize('growth', [0.0, 0.05])
def test_cpu_and_gpu_paths_keep_the_same_points(growth):
    points = some_points(5000)
    assert torch.equal(voxel._kept(points, 0.1, growth, False), voxel.is_kept(points, 0.1, growth))


# The floor

CAM = Camera(160, 120, 120.0, 120.0, 79.5, 59.5)
HEIGHT = 1.2
Z_BOX = 3.0


def room(pitch_deg=0.0, wall=6.0):
    """Depth of a floor 1.2 m below, a wall, and a box of 0.5 m on the floor; and what is floor."""
    pitch = np.radians(pitch_deg)
    x, y = (np.asarray(ray) for ray in rays(CAM, 'cpu'))
    x, y = np.broadcast_arrays(x, y)
    down = y * np.cos(pitch) + np.sin(pitch)
    ahead = np.cos(pitch) - y * np.sin(pitch)
    with np.errstate(divide='ignore'):
        floor = np.where(down > 0, HEIGHT / down, np.inf)
        front = wall / ahead
        box = Z_BOX / ahead
    on_box = (abs(x * box) < 0.4) & (box * down < HEIGHT) & (box * down > HEIGHT - 0.5)
    z = np.where(on_box, box, np.minimum(floor, front))
    return torch.from_numpy(z.astype(np.float32)), torch.from_numpy((floor < front) & ~on_box)


def dropped(z, height=HEIGHT, pitch_deg=0.0, above=0.05, stride=1):
    floor = given_floor(FloorSettings(height, pitch_deg))
    out = ground.without_ground(z, CAM, floor, above, stride)
    lost = torch.isnan(out) & ~torch.isnan(z)
    assert torch.equal(out[~lost].nan_to_num(), z[~lost].nan_to_num())
    return lost


@pytest.mark.parametrize('pitch_deg', [0.0, 25.0])
@pytest.mark.parametrize(
    ('factor', 'tilt_deg'), [(1.0, 0.0), (1.3, 0.0), (0.75, 0.0), (1.0, 4.0), (1.2, -3.0)]
)
def test_the_floor_is_dropped_and_nothing_above_it(pitch_deg, factor, tilt_deg):
    z, floor = room(pitch_deg)
    lost = dropped(z * factor, pitch_deg=pitch_deg + tilt_deg)
    assert lost[floor].float().mean() > 0.99
    # what touches the floor is lost up to 5 cm above it
    _, y = rays(CAM, 'cpu')
    pitch = np.radians(pitch_deg)
    above = HEIGHT - z * (y * np.cos(pitch) + np.sin(pitch))
    assert not lost[above * factor > 0.06].any()


def test_noise_of_a_network_does_not_matter():
    z, floor = room()
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    lost = dropped(z * (1 + 0.01 * noise), above=0.1)
    assert lost[floor].float().mean() > 0.95
    assert lost[~floor].float().mean() < 0.06


@pytest.mark.parametrize('what', ['wall', 'table', 'ramp', 'sky', 'unknown', 'noise'])
def test_without_a_floor_all_points_stay(what):
    _, y = rays(CAM, 'cpu')
    z = {
        'wall': torch.full(CAM.size, 1.5),
        'table': torch.where(y > 0, 0.4 / y.clamp(min=1e-3), inf).expand(CAM.size),  # 0.4 m below
        'ramp': torch.where(y > -0.2, HEIGHT / (y + 0.25), 50.0).expand(CAM.size),  # 14 deg
        'sky': torch.full(CAM.size, inf),
        'unknown': torch.full(CAM.size, nan),
        'noise': torch.rand(CAM.size, generator=torch.Generator().manual_seed(0)) * 5 + 0.2,
    }[what].contiguous()
    assert not dropped(z).any()


def test_only_the_pixels_of_the_cloud_are_marked():
    z, floor = room()
    lost = dropped(z, stride=4)
    assert lost[::4, ::4][floor[::4, ::4]].float().mean() > 0.99
    lost[::4, ::4] = False
    assert not lost.any()


@pytest.mark.parametrize('pitch_deg', [0.0, 25.0])
def test_cpu_and_gpu_paths_find_the_same_floor(pitch_deg):
    z, _ = room(pitch_deg)
    z[20:30, 40:50], z[90:100, 100:120] = inf, nan
    floor = given_floor(FloorSettings(HEIGHT, pitch_deg))
    plane, is_floor = ground._plane(z.numpy(), CAM, floor)
    plane_t, is_floor_t = ground._plane(z, CAM, floor)
    np.testing.assert_allclose(plane_t, plane, atol=1e-4)
    assert bool(is_floor) and bool(is_floor_t)
    _, none = ground._plane(torch.full(CAM.size, 1.5), CAM, floor)
    assert not none


def between_boxes():
    """A floor of which boxes hide two thirds; normals as of a network; what is floor."""
    x, y = (np.asarray(ray) for ray in rays(CAM, 'cpu'))
    x, y = np.broadcast_arrays(x, y)
    with np.errstate(divide='ignore'):
        z = np.where(y > 0, HEIGHT / y, np.inf)
    z, level = np.minimum(z, 9.0), z < 9.0
    for k, left in enumerate(np.linspace(-0.66, 0.5, 8)):
        front = 1.7 + 0.31 * (k * 3 % 7)
        hides = (x > left) & (x < left + 0.11) & (y * front < HEIGHT)
        z, level = np.where(hides, front, z), level & ~hides
    up, ahead = np.array((0.0, -1.0, 0.0)), np.array((0.0, 0.0, -1.0))
    normals = np.where(level[..., None], up, ahead)
    normals = normals + np.radians(5) * np.random.default_rng(0).normal(size=normals.shape)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    z, normals = (torch.from_numpy(values.astype(np.float32)) for values in (z, normals))
    return z, normals, torch.from_numpy(level)


def test_normals_find_the_floor_between_boxes():
    z, normals, level = between_boxes()
    floor = given_floor(FloorSettings(HEIGHT))
    low = slice(72, None)  # where the floor is looked for
    assert 0.25 < level[low].float().mean() < 0.45
    assert ground.without_ground(z, CAM, floor, 0.05) is z
    out = ground.without_ground(z, CAM, floor, 0.05, normals=normals)
    lost = torch.isnan(out)
    assert lost[level].float().mean() > 0.99
    _, y = rays(CAM, 'cpu')
    assert not lost[HEIGHT - z * y > 0.06].any(), 'boxes stay'
    depth = DepthMap(z, CAM, torch.zeros(*CAM.size, 3), floor=floor, normals=normals)
    points = with_values(
        Settings(), {'points.ground': 'drop', 'points.ground_height': 0.05}
    ).points
    assert torch.equal(surfaces(depth, points, 1).z.isnan(), lost)


def test_cpu_and_gpu_paths_find_the_same_floor_by_normals():
    z, normals, _ = between_boxes()
    floor = given_floor(FloorSettings(HEIGHT))
    plane, is_floor = ground._plane(z.numpy(), CAM, floor, normals.numpy())
    plane_t, is_floor_t = ground._plane(z, CAM, floor, normals)
    np.testing.assert_allclose(plane_t, plane, atol=1e-4)
    assert bool(is_floor) and bool(is_floor_t)


def test_a_wall_with_any_normals_is_no_floor():
    z, floor = torch.full(CAM.size, 1.5), given_floor(FloorSettings(HEIGHT))
    for normal in ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (nan, nan, nan)):
        normals = torch.tensor(normal).expand(*CAM.size, 3)
        assert ground.without_ground(z, CAM, floor, 0.05, normals=normals) is z


def test_nothing_waits_for_a_gpu():
    geometry.clear_cache()
    try:
        with FakeTensorMode():  # refuses to read what a GPU has not finished
            z = torch.empty(CAM.size, device='cuda')
            floor = given_floor(FloorSettings(HEIGHT))
            assert ground.without_ground(z, CAM, floor, 0.1, 2).device.type == 'cuda'
            normals = torch.empty((*CAM.size, 3), device='cuda')
            marked = ground.without_ground(z, CAM, floor, 0.1, 2, normals)
            assert marked.device.type == 'cuda'
            with pytest.raises(DataDependentOutputException):
                bool(z.sum() > 0)
    finally:
        geometry.clear_cache()


def test_a_camera_that_is_mounted_askew_sees_the_floor_too():
    roll = np.radians(20)
    down = np.array((np.sin(roll), np.cos(roll), 0.0))
    x, y = rays(CAM, 'cpu')
    towards = x * down[0] + y * down[1]
    z = torch.where(towards > 0.05, HEIGHT / towards.clamp(min=0.05), 30.0).to(torch.float32)
    askew = ground.without_ground(z, CAM, Floor(HEIGHT, down), 0.05)
    assert (
        torch.isnan(askew)[towards > 0.05].all() and not torch.isnan(askew)[towards < 0.03].any()
    )
    level = given_floor(FloorSettings(HEIGHT))
    assert ground.without_ground(z, CAM, level, 0.05) is z


def drop(**floor):
    values = {f'floor.{name}': value for name, value in floor.items()}
    return with_values(Settings(), {'points.ground': 'drop', 'points.stride': 1, **values})


@pytest.mark.parametrize(
    ('settings', 'floor'),
    [(drop(height=1.2), None), (drop(), Floor(1.2, np.array((0.0, 1.0, 0.0))))],
    ids=['parameters', 'frame'],
)
def test_the_floor_is_known_from_parameters_or_with_the_frame(settings, floor):
    rgb = torch.zeros((*CAM.size, 3), dtype=torch.uint8)
    lens = dataclasses.replace(CAM, distortion_model='plumb_bob', distortion=(-1e-4, 0, 0, 0, 0))
    depth = Pipeline(Flat('ground'), settings)(Frame(rgb, lens, floor=floor))
    below = torch.isfinite(depth.z)
    left = surfaces(depth, settings.points, 1).z
    assert below.sum() > 1000 and torch.isnan(left[below]).all()


def test_without_a_node_the_height_must_be_a_parameter():
    frame = Frame(torch.zeros((*CAM.size, 3), dtype=torch.uint8), CAM)
    with pytest.raises(
        ConfigError, match=r'floor\.height is 0, and only depth_node and bags have TF: set'
    ):
        Pipeline(Flat('ground'), drop())(frame)


def test_where_the_floor_is_not_known_it_stays():
    z, _ = room()
    depth = DepthMap(z, CAM, torch.zeros((*CAM.size, 3), dtype=torch.uint8))
    assert surfaces(depth, drop().points, 1) is depth
