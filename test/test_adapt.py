# SPDX-License-Identifier: Apache-2.0
"""What learning from a recording stands on: images moved by depth and motion, and their errors."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError
from depth_ros.core.rotations import angle_deg
from depth_ros.offline.adapt import losses
from depth_ros.offline.adapt.views import MOST_PARTNERS, View, partners
from depth_ros.offline.adapt.warp import rays, rotation, turned, warp
from depth_ros.sim.world import camera_pose, random_pose, random_scene, render
from depth_ros.sim.world.seeds import TEST

CAMERA = Camera(160, 120, 140.0, 140.0, 79.5, 59.5)
FAR = 100.0  # depth of the sky [m]


def pose(turn=(0.0, 0.0, 0.0), offset=(0.0, 0.0, 0.0)):
    T = torch.eye(4)
    T[:3, :3] = rotation(torch.tensor([turn]))[0]
    T[:3, 3] = torch.tensor(offset)
    return T


def batch(rgb):
    return rgb.permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope='module')
def pair():
    """Two images of a room and the depth of the first; T_second_first."""
    scene = random_scene(TEST + 3)
    T_world_first = random_pose(scene, TEST + 3).double()
    T_first_second = pose((0.02, -0.03, 0.01), (0.08, -0.03, 0.05)).double()
    first = render(scene, CAMERA, T_world_first, sensor=False, supersample=2)
    second = render(scene, CAMERA, T_world_first @ T_first_second, sensor=False, supersample=2)
    return (
        batch(first.rgb),
        first.z[None].clamp(max=FAR),
        batch(second.rgb),
        T_first_second.inverse().float(),
    )


def error_at(pair, factor, focal=1.0):
    """Mean photometric error with depth, and the focal length, wrong by a factor."""
    first, z, second, T_second_first = pair
    camera = Camera(160, 120, 140 * focal, 140 * focal, 79.5, 59.5)
    points = rays(camera)[None] * (factor * z).reshape(1, 1, -1)
    moved = warp(second, camera, points, T_second_first[None], camera.size)
    usable = moved.seen & (z < FAR)
    return losses.average(losses.photometric(first, moved.rgb)[None], usable[None])


def test_the_right_depth_and_motion_make_two_images_agree(pair):
    first, _, second, _ = pair
    unmoved = losses.photometric(first, second).mean()
    assert error_at(pair, 1.0) < 0.4 * unmoved
    for factor in (0.8, 1.25):
        assert error_at(pair, factor) > 1.2 * error_at(pair, 1.0)


def test_the_metres_follow_from_the_motion(pair):
    """By gradients alone: a scale that is a fifth off becomes right."""
    log_factor = torch.tensor(math.log(1.2), requires_grad=True)
    optimizer = torch.optim.Adam([log_factor], lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        error_at(pair, log_factor.exp()).backward()
        optimizer.step()
    assert float(log_factor.detach().exp()) == pytest.approx(1.0, abs=0.03)


def test_a_plane_moves_as_geometry_says():
    """A texture at 2 m, seen from 0.1 m to the right, is shifted by f * 0.1 / 2 px."""
    ramp = torch.arange(160.0).expand(1, 3, 120, 160) / 160
    z = torch.full((1, 1, 120 * 160), 2.0)
    T_second_first = pose(offset=(-0.1, 0.0, 0.0))[None]
    moved = warp(ramp, CAMERA, rays(CAMERA)[None] * z, T_second_first, CAMERA.size)
    expected = ramp - 140 * 0.1 / 2 / 160
    assert torch.allclose(moved.rgb[:, :, :, 7:], expected[:, :, :, 7:], atol=1e-5)
    assert not moved.seen[:, :, :6].any() and moved.seen[:, :, 8:].all()


def test_what_is_behind_the_other_camera_is_not_seen():
    ramp = torch.rand(1, 3, 120, 160)
    points = rays(CAMERA)[None] * 2.0
    behind = pose(offset=(0.0, 0.0, -3.0))[None]
    assert not warp(ramp, CAMERA, points, behind, CAMERA.size).seen.any()


def test_depth_that_is_not_finite_is_not_seen_and_has_no_gradient():
    z = torch.full((1, 1, 120 * 160), 2.0)
    z[..., :160], z[..., 160:320] = torch.inf, torch.nan
    z.requires_grad_()
    moved = warp(
        torch.rand(1, 3, 120, 160), CAMERA, rays(CAMERA)[None] * z, pose()[None], (120, 160)
    )
    assert not moved.seen[0, :2].any() and moved.seen[0, 3:-1, 1:-1].all()
    moved.rgb.sum().backward()
    assert torch.isfinite(moved.rgb).all()


def test_gradients_are_finite_also_without_any_motion():
    turn = torch.zeros(2, 3, requires_grad=True)
    rotation(turn).sum().backward()
    assert torch.isfinite(turn.grad).all()
    assert torch.allclose(rotation(torch.zeros(1, 3)), torch.eye(3)[None])


@pytest.mark.parametrize('turn', [(0.3, 0.0, 0.0), (0.1, -0.2, 0.4), (0.0, math.pi / 2, 0.0)])
def test_rotations_are_those_of_the_matrix_exponential(turn):
    x, y, z = turn
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    R = rotation(torch.tensor([turn]))[0]
    assert torch.allclose(R.double(), torch.linalg.matrix_exp(cross), atol=1e-6)
    assert angle_deg(pose(turn).numpy()[:3, :3]) == pytest.approx(
        math.degrees(math.hypot(*turn)), abs=0.1
    )


def test_a_turned_view_is_what_a_turned_camera_sees():
    scene = random_scene(TEST + 3)
    T = random_pose(scene, TEST + 3).double()
    R = rotation(torch.tensor([[0.03, 0.09, -0.02]]))
    T_turned = T.clone()
    T_turned[:3, :3] = T[:3, :3] @ R[0].double()
    images = [render(scene, CAMERA, p, sensor=False, supersample=2).rgb for p in (T, T_turned)]
    seen = turned(batch(images[0]), CAMERA, R, CAMERA)
    difference = (seen.rgb - batch(images[1])).abs().mean(1)[seen.seen]
    assert 0.6 < seen.seen.float().mean() < 0.95
    assert difference.mean() < 0.02


def test_ssim_is_that_of_its_formula():
    """Of one window of 3 x 3 pixels, by NumPy."""
    a, b = torch.rand(2, 1, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    x, y = a[0, 0].double().numpy().ravel(), b[0, 0].double().numpy().ravel()
    cov = np.cov(x, y, bias=True)
    ssim = (2 * x.mean() * y.mean() + 1e-4) * (2 * cov[0, 1] + 9e-4)
    ssim /= (x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (cov[0, 0] + cov[1, 1] + 9e-4)
    found = losses.dissimilarity(a, b)[0, 0, 1, 1]
    assert float(found) == pytest.approx((1 - ssim) / 2, abs=1e-5)
    assert losses.dissimilarity(a, a).abs().max() < 1e-5


def test_the_smallest_error_of_all_sources_counts():
    errors = torch.tensor([[[[0.1, 0.5, 0.9]]], [[[0.3, 0.2, 0.8]]]])
    seen = torch.ones_like(errors, dtype=torch.bool)
    assert float(losses.combined(errors, seen)) == pytest.approx((0.1 + 0.2 + 0.8) / 3)
    seen[1, 0, 0, 1] = False  # hidden there
    assert float(losses.combined(errors, seen)) == pytest.approx((0.1 + 0.5 + 0.8) / 3)
    still = torch.full_like(errors, 0.6)  # the last pixel looks better without motion
    assert float(losses.combined(errors, seen, still)) == pytest.approx(0.3)
    nothing = torch.zeros_like(seen)
    assert float(losses.combined(errors, nothing)) == 0.0


def test_depth_may_change_where_the_image_does():
    log_z = torch.zeros(1, 4, 8)
    log_z[..., 4:] = 1.0
    flat, edge = torch.zeros(1, 3, 4, 8), torch.zeros(1, 3, 4, 8)
    edge[..., 4:] = 1.0
    assert losses.roughness(log_z, edge) < 0.01 * losses.roughness(log_z, flat)
    assert losses.roughness(F.pad(log_z[..., :4], (0, 4)), flat) == 0


def view_at(x, yaw=0.0):
    T = camera_pose((x, 0.0, 0.0), yaw).numpy()
    return View(torch.zeros(120, 160, 3, dtype=torch.uint8), CAMERA, T)


def test_partners_have_parallax_and_overlap():
    views = [view_at(0.02 * k) for k in range(20)]
    found = partners(views, 2.0)
    for k, others in found.items():
        gaps = [0.02 * abs(k - other) for other in others]
        assert len(others) <= MOST_PARTNERS and k not in others
        assert min(gaps) >= 0.024 and max(gaps) <= 0.2
        assert gaps[0] == pytest.approx(0.06, abs=0.021), 'the best first'
    assert partners(views, 2000.0) == {}, 'far away nothing moves'
    assert partners([view_at(0.0), view_at(0.07, math.radians(30))], 2.0) == {}


def test_an_unmoving_robot_has_no_partners():
    assert partners([view_at(0.0) for _ in range(10)], 2.0) == {}


def test_a_view_has_its_own_undistorted_camera():
    rgb = torch.zeros(120, 160, 3, dtype=torch.uint8)
    with pytest.raises(CameraError, match='give the undistorted image'):
        View(rgb, CAMERA.resized(80, 60), np.eye(4), 'a.png')
    lens = Camera(160, 120, 140.0, 140.0, 79.5, 59.5, 'plumb_bob', (0.1, 0, 0, 0, 0))
    with pytest.raises(CameraError, match=r'a\.png'):
        View(rgb, lens, np.eye(4), 'a.png')
