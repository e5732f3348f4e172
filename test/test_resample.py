# SPDX-License-Identifier: Apache-2.0
"""The matrices against the libraries the networks were trained with."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from depth_ros.core.camera import Camera
from depth_ros.core.resample import (
    _resize_uint8_by_torch,
    covered_pixels,
    depth_to_camera,
    downscale,
    resize,
    resize_bilinear,
    resize_uint8,
    to_camera,
)

RNG = np.random.default_rng(7)
PICTURE = RNG.random((90, 128), np.float32)


def ours(picture, size, kernel):
    return resize(torch.from_numpy(picture), size, kernel).numpy()


@pytest.mark.parametrize('size', [(45, 64), (37, 50), (89, 31), (90, 128)])
def test_area_is_that_of_opencv(size):
    theirs = cv2.resize(PICTURE, size[::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(ours(PICTURE, size, 'area'), theirs, atol=2e-5)


@pytest.mark.parametrize('kernel', ['linear', 'cubic'])
@pytest.mark.parametrize('size', [(45, 64), (200, 300), (37, 290)])
def test_linear_and_cubic_are_those_of_torch(kernel, size):
    mode = {'linear': 'bilinear', 'cubic': 'bicubic'}[kernel]
    x = torch.from_numpy(PICTURE)[None, None]
    theirs = F.interpolate(x, size, mode=mode, align_corners=False)[0, 0].numpy()
    np.testing.assert_allclose(ours(PICTURE, size, kernel), theirs, atol=1e-5)


@pytest.mark.parametrize('size', [(37, 50), (37, 290), (200, 64), (200, 300)])
def test_linear_with_antialias_is_that_of_torch(size):
    x = torch.from_numpy(PICTURE)[None, None]
    theirs = F.interpolate(x, size, mode='bilinear', antialias=True)[0, 0].numpy()
    np.testing.assert_allclose(ours(PICTURE, size, 'linear_antialias'), theirs, atol=1e-5)


@pytest.mark.parametrize(
    ('kernel', 'size', 'share'),
    [
        ('area', (37, 50), 0.01),
        ('area', (89, 31), 0.01),
        ('linear', (37, 290), 0.2),  # OpenCV counts in 2048ths
        ('cubic', (37, 290), 0.01),
        ('cubic', (200, 300), 0.01),
        ('catmull_rom', (200, 300), 0.01),
        ('lanczos3', (37, 50), 0.01),
        ('lanczos3', (45, 300), 0.01),
        ('lanczos3', (200, 64), 0.01),
    ],
)
def test_bytes_are_resized_elsewhere_nearly_as_by_the_library(kernel, size, share):
    picture = torch.from_numpy(RNG.integers(0, 256, (90, 128, 3), np.uint8))
    theirs = resize_uint8(picture, size, kernel)
    ours = _resize_uint8_by_torch(picture, size, kernel)
    assert ours.shape == theirs.shape == (*size, 3) and ours.dtype == theirs.dtype == torch.uint8
    difference = (ours.int() - theirs.int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < share


@pytest.mark.parametrize('kernel', ['catmull_rom', 'lanczos3'])
def test_columns_are_resized_before_rows_by_every_version_of_pillow(kernel):
    picture = RNG.integers(0, 256, (90, 128, 3), np.uint8)
    pillow = {'catmull_rom': Image.BICUBIC, 'lanczos3': Image.LANCZOS}[kernel]
    columns = Image.fromarray(picture).resize((300, 90), pillow)
    both = np.array(columns.resize((300, 45), pillow))
    resized = resize_uint8(torch.from_numpy(picture), (45, 300), kernel).numpy()
    np.testing.assert_array_equal(resized, both)


def test_lanczos_is_that_of_pillow():
    theirs = np.asarray(Image.fromarray(PICTURE).resize((50, 37), Image.LANCZOS))
    np.testing.assert_allclose(ours(PICTURE, (37, 50), 'lanczos3'), theirs, atol=1e-4)


@pytest.mark.parametrize('kernel', ['area', 'linear', 'cubic', 'lanczos3'])
def test_a_constant_stays_constant(kernel):
    np.testing.assert_allclose(
        ours(np.full((31, 57), 0.3, np.float32), (77, 12), kernel), 0.3, atol=1e-6
    )


def test_another_camera_sees_the_same_scene():
    def scene(cam):  # a function of the ray alone, smooth
        x = (np.arange(cam.width) - cam.cx) / cam.fx
        y = (np.arange(cam.height) - cam.cy) / cam.fy
        return np.sin(3 * x)[None, :] * np.cos(2 * y)[:, None]

    wide = Camera(320, 240, 200, 210, 163, 117)
    narrow = Camera(112, 96, 140, 120, 50.5, 47)
    seen = to_camera(torch.from_numpy(scene(wide)).float(), wide, narrow, 'area').numpy()
    assert covered_pixels(wide, narrow, torch.device('cpu')).all()
    np.testing.assert_allclose(seen, scene(narrow), atol=3e-3)


def test_a_hole_in_depth_stays_a_hole():
    near = Camera(40, 30, 40, 40, 19.5, 14.5)
    z = torch.full((30, 40), 2.0)
    z[10, 10], z[20, 20] = torch.nan, torch.inf
    big = depth_to_camera(z, near, near.resized(120, 90))
    holes = torch.isnan(big)
    assert holes[31, 31] and holes[61, 61] and 9 <= holes.sum() <= 30
    torch.testing.assert_close(big[~holes], torch.full_like(big[~holes], 2.0))


def test_seen_by_ends_at_the_edge_of_the_image():
    inner = Camera(100, 80, 100, 100, 49.5, 39.5)
    outer = Camera(200, 160, 100, 100, 99.5, 79.5)
    mask = covered_pixels(inner, outer, torch.device('cpu')).numpy()
    assert mask[40:120, 50:150].all() and mask.sum() == 100 * 80


@pytest.mark.parametrize('size', [(30, 40), (7, 100), (90, 23), (48, 64)])
def test_maps_are_resized_as_torch_does(size):
    maps = torch.randn((3, 48, 64), generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(maps[None], size=size, mode='bilinear', align_corners=False)[0]
    torch.testing.assert_close(resize_bilinear(maps, size), expected, atol=5e-5, rtol=0)
    parts = maps.transpose(1, 2).contiguous().transpose(1, 2)[1:]  # no map of its own
    torch.testing.assert_close(resize_bilinear(parts, size), expected[1:], atol=5e-5, rtol=0)


@pytest.mark.parametrize('size', [(24, 32), (20, 17), (48, 64), (96, 30)])
def test_a_picture_shrinks_to_its_area_average(size):
    rgb = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8)
    expected = resize(rgb.permute(2, 0, 1).float(), size, 'area').permute(1, 2, 0)
    assert (downscale(rgb, size) - expected).abs().max() <= 0.501
