# SPDX-License-Identifier: Apache-2.0
"""The synthetic scene: its depth is exact, and it is the same every time."""

import numpy as np
import pytest

from depth_ros.camera import Camera
from depth_ros.demo import scene
from depth_ros.demo.measure import Ledger, errors, floor

CAMERA = scene.camera_of(160, 120)
TIMES = (0.0, 1.7, 9.0, 23.0, 41.5)


def ray(camera: Camera, u: int, v: int) -> np.ndarray:
    return np.array([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, 1.0])


def nearest(origin: np.ndarray, direction: np.ndarray) -> float:
    """First hit of one ray, face by face: a second way to the same answer."""
    hits = [scene.HEIGHT / direction[1]] if direction[1] > 0 else []
    for box in scene.BOXES:
        low, high = box.corners
        for axis in range(3):
            for face in (low[axis], high[axis]):
                t = (face - origin[axis]) / direction[axis]
                at = origin + t * direction
                others = [i for i in range(3) if i != axis]
                if t > 0 and all(low[i] <= at[i] <= high[i] for i in others):
                    hits.append(t)
    return min(hits, default=np.inf)


@pytest.mark.parametrize('time_s', TIMES)
def test_depth_is_the_nearest_face_of_each_ray(time_s: float) -> None:
    _, depth = scene.render(CAMERA, time_s)
    origin, turn = scene.pose(time_s)
    for u, v in np.random.default_rng(0).integers((0, 0), (160, 120), (400, 2)):
        expected = nearest(origin, turn @ ray(CAMERA, u, v))
        assert depth[v, u] == pytest.approx(expected, rel=1e-5, abs=1e-4), (u, v)


def test_boxes_ground_and_sky_are_all_in_view() -> None:
    _, depth = scene.render(CAMERA, 0.0)
    ground = floor(depth, CAMERA, scene.HEIGHT)
    assert ground.mean() > 0.2
    assert (np.isfinite(depth) & ~ground).mean() > 0.1
    assert np.isposinf(depth).mean() > 0.2
    assert not np.isnan(depth).any()


@pytest.mark.parametrize('time_s', TIMES)
def test_ground_back_projects_to_the_height_of_the_camera(time_s: float) -> None:
    _, depth = scene.render(CAMERA, time_s)
    v = np.arange(CAMERA.height)[:, None]
    y = (depth * (v - CAMERA.cy) / CAMERA.fy)[-1]  # the lowest row, of which a box covers a part
    assert np.median(y) == pytest.approx(scene.HEIGHT, abs=1e-4)
    assert y.max() < scene.HEIGHT + 1e-4


@pytest.mark.parametrize('size', [(64, 48), (101, 57)])
def test_sizes_and_types_follow_the_camera(size: tuple[int, int]) -> None:
    rgb, depth = scene.render(scene.camera_of(*size), 3.0)
    assert rgb.shape == (size[1], size[0], 3) and rgb.dtype == np.uint8
    assert depth.shape == (size[1], size[0]) and depth.dtype == np.float32


def test_same_time_same_picture_and_the_trip_closes() -> None:
    rgb, depth = scene.render(CAMERA, 5.0)
    again, depth_again = scene.render(CAMERA, 5.0)
    assert (rgb == again).all() and (depth == depth_again).all()
    assert np.allclose(scene.pose(5.0)[0], scene.pose(5.0 + scene.LAP_S)[0])
    assert (rgb != scene.render(CAMERA, 6.0)[0]).any()


def test_camera_never_enters_a_box() -> None:
    for time_s in np.linspace(0, scene.LAP_S, 600):
        position, _ = scene.pose(time_s)
        for box in scene.BOXES:
            low, high = box.corners
            assert not ((low[::2] - 0.3 < position[::2]) & (position[::2] < high[::2] + 0.3)).all()


def test_field_of_view_is_the_one_asked_for() -> None:
    assert scene.camera_of(640, 480, 70.0).hfov_deg == pytest.approx(70.0)


def test_errors_know_scale_and_holes() -> None:
    truth = np.array([[1.0, 2.0, 4.0, np.inf]], np.float32)
    depth = np.array([[1.1, 2.2, np.nan, 5.0]], np.float32)
    result = errors(depth, truth)
    assert result['abs_rel'] == pytest.approx(0.1)
    assert result['delta1'] == 1.0
    assert result['valid'] == pytest.approx(2 / 3)
    assert errors(np.full_like(truth, np.nan), truth) == {'valid': 0.0}


def test_ledger_counts_loss_and_latency_by_stamp() -> None:
    ledger, sent = Ledger(), [1_000_000_000 + i * 100_000_000 for i in range(11)]
    for stamp in sent[:5] + sent[6:]:
        ledger.note(stamp, stamp + 4_000_000)
    ledger.note(7, 8)  # from before the window
    report = ledger.report(sent)
    assert (report['received'], report['lost']) == (10, 1)
    assert report['latency_p50_ms'] == report['latency_p99_ms'] == 4.0
    assert report['rate_hz'] == 9.0
    assert Ledger().report(sent)['lost'] == 11
