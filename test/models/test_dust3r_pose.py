# SPDX-License-Identifier: Apache-2.0
"""The pose of the second view from made-up point maps: correct, with a correct covariance."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame
from depth_ros.models import ModelOptions
from depth_ros.models.dust3r import Dust3rModel
from depth_ros.models.dust3r.network import PointMap
from depth_ros.models.dust3r.pose import find_pose

CAMERA = Camera(128, 96, 110.0, 112.0, 66.0, 46.0)
TURN = np.array([0.05, -0.2, 0.03])
T_TRUE = np.eye(4)
T_TRUE[:3, :3] = cv2.Rodrigues(TURN)[0]
T_TRUE[:3, 3] = 0.5, -0.1, 0.2


def room(camera, depth=3.0):
    """Points (h, w, 3) of a slanted wavy wall at the pixels of `camera`, in float64."""
    u = (torch.arange(camera.width, dtype=torch.float64) - camera.cx) / camera.fx
    v = (torch.arange(camera.height, dtype=torch.float64) - camera.cy) / camera.fy
    x, y = torch.meshgrid(u, v, indexing='xy')
    z = depth * (1 + 0.3 * x + 0.3 * torch.sin(5 * x) * torch.cos(4 * y))
    return torch.stack((x * z, y * z, z), 2)


def moved(points, T):
    """Points (h, w, 3) by T (4, 4)."""
    T = torch.from_numpy(T)
    return points @ T[:3, :3].T + T[:3, 3]


def off(pose):
    """Error of the state in geometry_msgs' order: translation, then rotation about fixed axes."""
    T = pose.T_first_second
    turn = cv2.Rodrigues(T[:3, :3] @ T_TRUE[:3, :3].T)[0][:, 0]
    return np.concatenate((T[:3, 3] - T_TRUE[:3, 3], turn))


def test_a_perfect_map_gives_the_pose():
    pose = find_pose(moved(room(CAMERA), T_TRUE), torch.ones(96, 128), CAMERA)
    assert np.abs(off(pose)).max() < 1e-6
    assert pose.inliers == 1 and pose.compared == 4000
    assert pose.length == pytest.approx(np.linalg.norm(T_TRUE[:3, 3]))
    assert pose.length_std < 1e-6


@pytest.mark.parametrize('unit', [1e-3, 1.0, 1e3])
def test_the_unit_of_the_map_is_the_unit_of_the_pose(unit):
    torch.manual_seed(1)
    points = moved(room(CAMERA), T_TRUE) + 0.01 * torch.randn(96, 128, 3)
    pose = find_pose(points * unit, torch.ones(96, 128), CAMERA)
    assert pose.length == pytest.approx(np.linalg.norm(T_TRUE[:3, 3]) * unit, rel=0.02)
    assert pose.length_std == pytest.approx(0.0005 * unit, rel=2)


def noise(kind):
    """(96, 128, 3) of 0.2 px (0.3 px): what single pixels, or what all near each other err by."""
    if kind == 'alone':
        return 0.005 * torch.randn(96, 128, 3)
    coarse = torch.randn(1, 3, 24, 32)
    return 0.01 * F.interpolate(coarse, size=(96, 128), mode='bicubic')[0].permute(1, 2, 0)


@pytest.mark.parametrize('kind', ['alone', 'alike'])
def test_errors_agree_with_the_covariance(kind):
    torch.manual_seed(2)
    true = moved(room(CAMERA), T_TRUE)
    errors, said = [], []
    for _ in range(40):
        pose = find_pose(true + noise(kind), 1 + torch.rand(96, 128), CAMERA)
        errors.append(off(pose))
        said.append(pose.covariance)
    stds = np.sqrt(np.diagonal(said, axis1=1, axis2=2))
    np.testing.assert_allclose(stds.mean(0), np.std(errors, axis=0), rtol=0.35)
    # chi squared of 6 numbers: 6 in the mean, below 12.6 in 95 %; few blocks make longer tails
    squares = [e @ np.linalg.solve(c, e) for e, c in zip(errors, said, strict=True)]
    assert 4 < np.mean(squares) < 9
    assert np.mean(np.array(squares) < 12.6) > 0.85


def test_what_does_not_fit_is_left_out_and_counted():
    torch.manual_seed(4)
    points = moved(room(CAMERA), T_TRUE) + 0.005 * torch.randn(96, 128, 3)
    points[:, :40] += torch.tensor([0.3, 0.3, 0.0])  # something that moved: 31 % of the picture
    points[:5, 60:] = torch.nan
    pose = find_pose(points, torch.ones(96, 128), CAMERA)
    assert np.abs(off(pose)).max() < 0.01
    assert pose.inliers == pytest.approx(0.67, abs=0.05)


def test_the_more_confident_half_is_compared():
    points = moved(room(CAMERA), T_TRUE)
    confidence = torch.full((96, 128), 1.5)
    confidence[:, :60] = 1.01
    points[:, :60] += 1.0
    pose = find_pose(points, confidence, CAMERA)
    assert pose.inliers == 1 and np.abs(off(pose)).max() < 1e-6


@pytest.mark.parametrize(
    'points',
    [
        torch.randn(96, 128, 3),
        torch.full((96, 128, 3), torch.nan),
        torch.zeros(96, 128, 3),
        torch.ones(96, 128, 3),
    ],
)
def test_no_pose_where_nothing_agrees(points):
    torch.manual_seed(0)
    assert find_pose(points, torch.ones(96, 128), CAMERA) is None


def test_no_pose_from_a_corner_of_the_picture():
    confidence = torch.full((96, 128), torch.nan)
    confidence[:20, :30] = 2.0
    assert find_pose(moved(room(CAMERA), T_TRUE), confidence, CAMERA) is None


class Oracle:
    """In the network's place: point maps of the room as a camera of another focal length."""

    def __init__(self, stretch):
        self.stretch = torch.tensor([stretch, stretch, 1.0])
        self.views = []

    def __call__(self, *pictures):
        self.views = [Camera(p.shape[3], p.shape[2], 110.0, 110.0, 63.5, 47.5) for p in pictures]
        maps = [room(self.views[0]), moved(room(self.views[-1]), T_TRUE)]
        return tuple(
            PointMap((m.float() * self.stretch)[None], torch.full((1, *m.shape[:2]), 2.0))
            for m in maps[: len(pictures)]
        )


@pytest.mark.parametrize('stretch', [1.0, 0.8, 1.3])
def test_a_pair_gives_depth_and_pose_for_any_estimated_focal_length(stretch):
    model = Dust3rModel(Oracle(stretch), 512, ModelOptions(input_size=128))
    camera = Camera(256, 192, 220.0, 220.0, 127.5, 95.5)  # shown at half size
    frames = [Frame(torch.zeros(192, 256, 3, dtype=torch.uint8), camera) for _ in range(2)]
    pair = model.predict_views(frames)
    truth = room(camera)
    inner = (slice(2, -2), slice(2, -2))  # at the border there is nothing to mix with
    torch.testing.assert_close(pair.z.double()[inner], truth[..., 2][inner], rtol=1e-3, atol=0)
    assert np.abs(off(pair.poses[0])).max() < 1e-4
    assert pair.poses[0].inliers == 1
    alone = model.predict(frames[0])
    assert torch.equal(alone.values, pair.z)
    assert torch.equal(alone.confidence, pair.confidence)


@pytest.mark.parametrize('stretch', [1.0, 0.8, 1.3])
def test_the_points_determine_the_camera(stretch):
    """x and y that are 1.3 times as wide are seen by a lens 1.3 times as short."""
    model = Dust3rModel(Oracle(stretch), 512, ModelOptions(input_size=128))
    camera = model.estimate_camera(torch.zeros(192, 256, 3, dtype=torch.uint8))
    assert (camera.width, camera.height, camera.cx, camera.cy) == (256, 192, 127.5, 95.5)
    assert camera.fx == camera.fy == pytest.approx(220 / stretch, rel=1e-3)
