# SPDX-License-Identifier: Apache-2.0
"""The filters of depth maps: what each changes, and that it changes nothing else."""

import functools

import cv2
import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from depth_ros.core import geometry
from depth_ros.core.camera import Camera
from depth_ros.core.geometry import back_project, rays
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.filters import Filters, edges, free_space, median, range, slant
from depth_ros.sim.world.layouts import random_scene
from depth_ros.sim.world.render import camera_pose, render

nan, inf = torch.nan, torch.inf
SIZES = [(48, 64), (50, 1290)]  # the second is compared at every other pixel
STEP = 0.006


def same(a, b):
    return torch.equal(a.nan_to_num(nan=-1), b.nan_to_num(nan=-1))


@pytest.mark.parametrize('far', [inf, 4.0])
@pytest.mark.parametrize('near', [0.0, 0.5])
@pytest.mark.parametrize(
    'row',
    [
        [1.0, 2.0, 3.0],
        [1.0, nan, 3.0],
        [nan, nan, nan],
        [1.0, inf, nan],
        [0.0, -1.0, nan, 0.2, 0.5, 4.0, 4.1, inf, -inf, 1.0],
    ],
)
def test_cpu_and_gpu_paths_limit_the_same(row, near, far):
    z = torch.tensor([row])
    kept = z.clone()
    fast = range._by_numpy(z, near, far)
    plain = range._by_torch(z, near, far)
    torch.testing.assert_close(fast, plain, equal_nan=True, rtol=0, atol=0)
    assert torch.equal(z.nan_to_num(), kept.nan_to_num()), "the network's own answer stays"


# Flying pixels


def blurred_step(near, far, sigma, size=(40, 64)):
    """A near and a far wall as a network sees them, and how far each pixel is from both."""
    z = np.full(size, near, np.float32)
    z[:, size[1] // 2 :] = far
    blurred = 1 / cv2.GaussianBlur(1 / z, (0, 0), sigma)
    return blurred, np.minimum(abs(blurred / near - 1), abs(blurred / far - 1))


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('camera_height', [0.3, 1.0])
def test_walls_and_floors_lose_no_pixel(size, camera_height):
    v, u = np.mgrid[: size[0], : size[1]].astype(np.float32)
    f = 1.2 * size[1]
    walls = {
        'flat': np.full(size, 2.0, np.float32),
        'slanted': f * camera_height / (u + 15),  # seen at down to 1 deg
        'floor': f * camera_height / (v + 15),
        'ceiling': f * camera_height / (size[0] - v + 15),
    }
    for name, wall in walls.items():
        z = torch.from_numpy(wall)
        steepest = max(abs(np.diff(np.log(z.numpy()), axis=k)).max() for k in (0, 1))
        assert name == 'flat' or steepest > 2 * STEP, 'what is not steep proves nothing'
        assert same(edges.without_flying_pixels(z, STEP), z), name


@pytest.mark.parametrize('turned', [False, True])
@pytest.mark.parametrize('sigma', [0.8, 1.5, 2.5])
@pytest.mark.parametrize(('near', 'far'), [(1.0, 1.5), (2.0, 8.0)])
def test_a_blurred_edge_loses_what_is_on_neither_surface(near, far, sigma, turned):
    z, off = blurred_step(near, far, sigma)
    if turned:
        z, off = z.T.copy(), off.T
    flying = torch.isnan(edges.without_flying_pixels(torch.from_numpy(z), STEP)).numpy()
    assert flying[off > 0.05].all(), 'in the air'
    assert not flying[off < STEP / 2].any(), 'on a surface'
    assert (off > 0.05).any()


ROOM = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)


@functools.cache
def room():
    """Exact depth of a rendered room, and the normals of its surfaces."""
    pose = camera_pose((1.79, -0.75, 0.97), 3.0, -0.15)
    z = render(random_scene(1, 'room'), ROOM, pose, sensor=False).z.numpy()
    inverse, slopes = 1 / z.astype(np.float64), []
    for axis, focal in ((1, ROOM.fx), (0, ROOM.fy)):
        after = np.diff(inverse, axis=axis, append=np.take(inverse, [-1], axis))
        before = np.roll(after, 1, axis)  # at an edge the other side is another surface
        slopes.append(focal * np.where(abs(after) < abs(before), after, before))
    x, y = (np.asarray(ray, np.float64) for ray in rays(ROOM, 'cpu'))
    normals = -np.stack((*slopes, inverse - slopes[0] * x - slopes[1] * y), -1)
    return z, normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def of_a_network(normals, noise_deg, seed=0):
    """Normals that are blurred, and wrong by some degrees in patches."""
    noise = np.random.default_rng(seed).normal(size=normals.shape)
    noise = cv2.GaussianBlur(noise, (0, 0), 3)
    noise *= np.radians(noise_deg) / noise.std()
    normals = cv2.GaussianBlur(normals, (0, 0), 1.5) + noise
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return torch.from_numpy(normals.astype(np.float32))


@pytest.mark.parametrize('noise_deg', [0, 5])
@pytest.mark.parametrize('sigma', [1.0, 1.5])
def test_with_normals_fewer_good_pixels_are_lost(sigma, noise_deg):
    true, exact = room()
    z = 1 / cv2.GaussianBlur(1 / true, (0, 0), sigma)
    normals = of_a_network(exact, noise_deg)
    near, far = (change(true, np.ones((5, 5), np.uint8)) for change in (cv2.erode, cv2.dilate))
    in_the_air = (z > 1.1 * near) & (z < 0.9 * far)
    good = abs(z / true - 1) < 0.005
    with_normals, without = (
        torch.isnan(edges.without_flying_pixels(torch.from_numpy(z), STEP, *more)).numpy()
        for more in ((normals, ROOM), ())
    )
    assert not (with_normals & ~without).any(), 'normals mark nothing'
    assert in_the_air.sum() > 1000 and with_normals[in_the_air].mean() > 0.99
    assert with_normals[good].mean() < 0.3 * without[good].mean()


def test_normals_that_are_unknown_or_of_another_surface_explain_nothing():
    z, _ = blurred_step(1.0, 2.0, 1.5)
    z = torch.from_numpy(z)
    camera = Camera(64, 40, 60.0, 60.0, 31.5, 19.5)
    expected = edges.without_flying_pixels(z, STEP)
    assert torch.isnan(expected).any()
    for normal in ((nan, nan, nan), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (-0.6, 0.0, -0.8)):
        normals = torch.tensor(normal).expand(40, 64, 3).contiguous()
        assert same(edges.without_flying_pixels(z, STEP, normals, camera), expected), normal


@pytest.mark.parametrize('wide', [False, True])
def test_cpu_and_gpu_paths_explain_the_same_pixels(wide):
    true, exact = room()
    camera, normals = ROOM, of_a_network(exact, 5)
    if wide:  # compared with pixels farther away
        camera = ROOM.resized(1280, 960)
        true = cv2.resize(true, (1280, 960), interpolation=cv2.INTER_NEAREST)
        normals = normals.repeat_interleave(4, 0).repeat_interleave(4, 1)
    z = 1 / cv2.GaussianBlur(1 / true, (0, 0), 4.0 if wide else 1.0)
    z[10:14, 20:40] = np.inf
    z[30:34, 20:40] = np.nan
    reach = edges._stride(camera.width)
    marks = edges._flying_by_opencv(z, STEP)
    found = np.zeros_like(marks)
    found[slant.slanted_at(marks, z, normals.numpy(), camera, STEP, reach)] = True
    by_torch = slant.slanted(torch.from_numpy(z), normals, camera, STEP, reach).numpy()
    assert found.any() and (found != (by_torch & marks)).mean() < 1e-5


def test_nothing_waits_for_a_gpu():
    geometry.clear_cache()
    try:
        with FakeTensorMode():  # refuses to read what a GPU has not finished
            z = torch.empty(ROOM.size, device='cuda')
            normals = torch.empty((*ROOM.size, 3), device='cuda')
            out = edges.without_flying_pixels(z, STEP, normals, ROOM)
            assert out.device.type == 'cuda'
    finally:
        geometry.clear_cache()


def test_a_sharp_edge_and_a_thin_pole_lose_nothing():
    z = torch.full((40, 64), 4.0)
    z[:, :20] = 2.0
    z[:, 40] = 1.0  # one pixel wide, and the nearest of all obstacles
    assert same(edges.without_flying_pixels(z, STEP), z)


def test_one_mixed_column_is_lost_alone():
    z = torch.full((40, 64), 4.0)
    z[:, :30], z[:, 30] = 2.0, 2.7
    out = edges.without_flying_pixels(z, STEP)
    assert torch.isnan(out[:, 30]).all() and torch.isnan(out).sum() == 40
    assert not torch.isnan(z).any(), 'the input stays'


def test_the_edge_to_the_sky_is_an_edge_and_the_edge_of_a_hole_is_none():
    z = torch.full((40, 64), 4.0)
    z[:20] = inf
    z[20] = 9.0
    out = edges.without_flying_pixels(z, STEP)
    assert torch.isnan(out[20]).all() and torch.isnan(out).sum() == 64
    assert (out[:20] == inf).all()
    z[:20] = nan
    assert same(edges.without_flying_pixels(z, STEP), z)


@pytest.mark.parametrize('size', [*SIZES, (1, 1), (1, 9), (7, 3), (480, 640)])
@pytest.mark.parametrize('step', [0.002, 0.05])
@pytest.mark.parametrize('holes', [False, True])
def test_cpu_and_gpu_paths_find_the_same_flying_pixels(size, step, holes):
    rng = np.random.default_rng(1)
    z = np.exp(cv2.GaussianBlur(rng.normal(1, 3, size).astype(np.float32), (0, 0), 2))
    if holes:
        kind = rng.random(size)
        z[kind < 0.02], z[kind > 0.99], z[abs(kind - 0.5) < 0.005] = nan, inf, -inf
    flying = edges._flying_by_opencv(z, step)
    plain = edges._flying_by_torch(torch.from_numpy(z), step).numpy()
    # a logarithm that is rounded otherwise may decide otherwise
    assert (flying != plain).mean() <= 1e-4
    assert 0 < flying.mean() < 0.97 or min(size) < 9


# Median


def test_a_speck_becomes_what_is_around_it_and_edges_stay():
    z = torch.full((20, 30), 2.0)
    z[:, 15:] = 5.0
    speck = z.clone()
    speck[4, 4], speck[10, 20] = 9.0, 0.3
    for radius in (1, 2):
        assert same(median.smoothed(speck, radius), z)
    assert median.smoothed(speck, 0) is speck


@pytest.mark.parametrize('radius', [1, 2])
@pytest.mark.parametrize('mark', [nan, inf, -inf])
def test_the_median_neither_fills_nor_spreads_what_is_not_finite(radius, mark):
    z = torch.rand(20, 30, generator=torch.Generator().manual_seed(0)) + 1
    z[5:9, 7:8], z[0, 0] = mark, mark
    out = median.smoothed(z, radius)
    assert torch.equal(torch.isfinite(out), torch.isfinite(z))
    assert (out[0, 0] == mark) or mark != mark
    assert same(median._by_torch(z, radius), out)
    near = torch.zeros_like(z, dtype=torch.bool)
    near[5 - radius : 9 + radius, 7 - radius : 8 + radius] = True
    assert same(out[near], z[near])


# All together

ON = {'filters.edges': STEP, 'filters.median': 1}


def filtered(z, parameters, **extra):
    camera = Camera(z.shape[1], z.shape[0], 60.0, 60.0, 31.5, 23.5)
    frame = Frame(torch.zeros((*z.shape, 3), dtype=torch.uint8), camera)
    settings = with_values(Settings(), parameters)
    return Filters()(z, Prediction(z, Kind.METRIC, **extra), frame, settings)[0]


@pytest.mark.parametrize('name', ON)
def test_no_filter_gives_depth_to_what_has_none(name):
    rng = np.random.default_rng(2)
    z = torch.from_numpy(np.exp(rng.normal(1, 1, (48, 64)).astype(np.float32)))
    z[:8], z[20:30, 20:30], z[40, ::3] = nan, inf, 0.01
    sky = torch.zeros(48, 64, dtype=torch.bool)
    sky[10:14] = True
    rest = {'range.max': 9.0}
    before, after = filtered(z, rest, sky=sky), filtered(z, {**rest, name: ON[name]}, sky=sky)
    for mark in (inf, -inf):
        assert torch.equal(before == mark, after == mark)
    assert torch.isnan(after[torch.isnan(before)]).all()
    assert not same(before, after), 'the filter does something'


def test_flying_pixels_at_the_far_limit_are_found():
    z, _ = blurred_step(2.0, 30.0, 1.0)
    out = filtered(torch.from_numpy(z), {'range.max': 10.0, 'filters.edges': STEP})
    rest = torch.isfinite(out)
    assert torch.equal(out[rest], torch.from_numpy(z)[rest])
    assert (out[rest] < 2.1).all()


# Ends of rays, for clearing


def test_rays_end_at_surfaces_or_at_their_length():
    camera = Camera(8, 6, 5.0, 5.0, 3.5, 2.5)
    z = torch.full((6, 8), 2.0)
    z[0], z[1], z[2], z[3] = inf, nan, -inf, 50.0
    ends = free_space.ray_ends(z, camera, 10.0)
    lengths = torch.linalg.norm(back_project(ends, camera), dim=-1)
    assert torch.allclose(lengths[[0, 3]], torch.tensor(10.0))
    assert torch.equal(ends[4:], z[4:]), 'a surface ends its ray'
    assert torch.isnan(ends[1]).all() and (ends[2] == -inf).all(), 'no ray is known there'
    assert (ends[0] < 10).all() and (z[0] == inf).all()


def test_the_length_of_rays_is_a_limit_for_surfaces_too():
    camera = Camera(8, 6, 5.0, 5.0, 3.5, 2.5)
    ends = free_space.ray_ends(torch.full((6, 8), 2.0), camera, 2.0)
    lengths = torch.linalg.norm(back_project(ends, camera), dim=-1)
    assert lengths.max() <= 2.0001 and ends.max() < 2.0
