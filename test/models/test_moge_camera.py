# SPDX-License-Identifier: Apache-2.0
"""MoGe-2's camera: shift and focal length of a point map, against the published solver."""

import numpy as np
import pytest
import torch
from parity import PARITY, Fixture
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from depth_ros.models.moge import camera

FOCAL = Fixture(PARITY / 'moge2_focal.npz')
#: the published solver stops early: at a relative gain of 1e-3
EARLY = 2e-3


def shift_of_known(points, mask, intrinsics):
    few = camera.samples(torch.cat((points, mask[None])))
    return camera.shift_of_known(few[:3], few[3] > 0, tuple(mask.shape), intrinsics)


def focal_and_shift(points, mask):
    few = camera.samples(torch.cat((points, mask[None])))
    return camera.focal_and_shift(few[:3], few[3] > 0, tuple(mask.shape))


def case(name):
    """Points (3, H, W) and mask (H, W) of a synthetic map."""
    points = torch.from_numpy(FOCAL.arrays[f'{name}_points']).permute(2, 0, 1)
    return points, torch.from_numpy(FOCAL.arrays[f'{name}_valid']).bool()


def centred(focal, mask):
    """fx fy cx cy of a focal length in half diagonals."""
    height, width = mask.shape
    f = focal * np.hypot(height, width) / 2
    return f, f, (width - 1) / 2, (height - 1) / 2


@pytest.mark.parametrize('name', ['wide', 'tall', 'small'])
@pytest.mark.parametrize('masked', [True, False])
def test_an_unknown_focal_length_is_found_with_the_shift(name, masked):
    points, mask = case(name)
    kind = 'u' if masked else 'nomask'
    mask = mask if masked else torch.ones_like(mask)
    found = [float(x) for x in focal_and_shift(points, mask)]
    exact, published = (FOCAL.arrays[f'{name}_focal_shift_{kind}{end}'] for end in ('_exact', ''))
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    np.testing.assert_allclose(found, published, rtol=EARLY)


@pytest.mark.parametrize('name', ['wide', 'tall', 'small'])
def test_the_shift_of_a_known_focal_length_is_found(name):
    points, mask = case(name)
    found = float(shift_of_known(points, mask, centred(1.2, mask)))
    assert found == pytest.approx(FOCAL.arrays[f'{name}_focal_shift_given_exact'][1], rel=1e-6)
    assert found == pytest.approx(FOCAL.arrays[f'{name}_focal_shift_given'][1], rel=EARLY)


def view(intrinsics, size, shift):
    """Points of a bumpy wall as the camera sees them, without `shift` on their z."""
    fx, fy, cx, cy = intrinsics
    v, u = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing='ij')
    z = 2 + torch.sin(u / 9) * torch.cos(v / 7)
    return torch.stack(((u - cx) / fx * z, (v - cy) / fy * z, z - shift)).float()


@pytest.mark.parametrize('shift', [-3.0, 0.0, 0.7])
def test_the_rays_are_those_of_the_camera(shift):
    """A principal point off the centre and pixels that are not square have no effect."""
    size, intrinsics = (90, 130), (110.0, 140.0, 30.0, 55.0)
    points, everywhere = view(intrinsics, size, shift), torch.ones(size, dtype=torch.bool)
    found = float(shift_of_known(points, everywhere, intrinsics))
    assert found == pytest.approx(shift, abs=1e-6)
    in_the_middle = float(shift_of_known(points, everywhere, (110.0, 140.0, 64.5, 44.5)))
    assert abs(in_the_middle - shift) > 0.1


def test_neither_start_nor_unit_matters():
    size, intrinsics = (64, 64), (60.0, 60.0, 31.5, 31.5)
    everywhere = torch.ones(size, dtype=torch.bool)
    for unit in (1e-4, 1.0, 1e4):
        points = view(intrinsics, size, 0.9) * unit
        focal, shift = focal_and_shift(points, everywhere)
        assert float(shift) == pytest.approx(0.9 * unit, rel=1e-5)
        assert float(focal) == pytest.approx(60.0 / np.hypot(32, 32), rel=1e-5)


def test_it_is_the_least_of_all_shifts():
    """Compared with a dense search, on points that no camera sees so."""
    noise = np.random.default_rng(3)
    for _ in range(8):
        points = torch.from_numpy(noise.normal(size=(3, 64, 64)).astype(np.float32))
        points[2] = points[2].exp()
        mask = torch.from_numpy(noise.random((64, 64)) < 0.6)
        intrinsics = fx, fy, cx, cy = 40.0, 44.0, 20.0, 38.0
        v, u = np.mgrid[:64, :64]
        rays = np.stack(((u - cx) / fx, (v - cy) / fy))[:, mask]
        xy, z = points[:2, mask].double().numpy(), points[2, mask].double().numpy()

        def error(s, xy=xy, z=z, rays=rays):
            return ((xy / (z + s) - rays) ** 2).sum()

        found = error(float(shift_of_known(points, mask, intrinsics)))
        dense = min(error(s) for s in np.geomspace(1e-4, 1e3, 4000) - z.min())
        assert found <= dense * (1 + 1e-9)


@pytest.mark.parametrize('count', [0, 1])
def test_too_few_points_have_no_shift(count):
    points, mask = case('tall')
    few = torch.zeros_like(mask)
    few.view(-1)[:count] = True
    assert float(shift_of_known(points, few, centred(1.2, mask))) == 0
    assert [float(x) for x in focal_and_shift(points, few)] == [1, 0]


def test_points_that_are_not_finite_do_not_count():
    points, mask = case('wide')
    expected = [float(x) for x in focal_and_shift(points, mask)]
    points = points.clone()
    points[:, ~mask] = torch.nan
    points[2, mask.nonzero()[7, 0], mask.nonzero()[7, 1]] = torch.inf
    found = [float(x) for x in focal_and_shift(points, torch.ones_like(mask))]
    assert found == pytest.approx(expected, rel=1e-3)


def test_nothing_waits_for_a_gpu():
    camera.clear_cache()
    try:
        with FakeTensorMode():  # refuses to read what a GPU has not finished
            points = torch.empty((3, 48, 64), device='cuda')
            mask = torch.ones((48, 64), dtype=torch.bool, device='cuda')
            assert shift_of_known(points, mask, (50.0, 50.0, 31.5, 23.5)).device.type == 'cuda'
            focal, _ = focal_and_shift(points, mask)
            with pytest.raises(DataDependentOutputException):
                float(focal)
    finally:
        camera.clear_cache()
