# SPDX-License-Identifier: Apache-2.0
"""Depth of two views in metres, without ROS."""

import contextlib

import cv2
import numpy as np
import pytest
import torch

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, InferenceError, ScaleError
from depth_ros.core.types import Frame, Kind, MultiView, Pose, Prediction
from depth_ros.models.depth_anything.agreement import compared
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.two_views.views import EarlierFrame, SecondCamera
from depth_ros.sim.world import path, random_scene, render

CAM = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
S = 10**9


class Wall:
    """A wall at `wall_m`, in units of `unit_m`; red is how far right the camera stands [cm]."""

    kind = Kind.SCALE_INVARIANT
    scale_memory = 10

    def __init__(self, wall_m=2.0, unit_m=0.5, inliers=0.9):
        self.wall_m, self.unit_m, self.inliers = wall_m, unit_m, inliers
        self.pairs = 0

    def predict(self, frame):
        z = torch.full(frame.camera.size, self.wall_m / self.unit_m)
        return Prediction(z, self.kind, confidence=torch.ones_like(z))

    def predict_views(self, frames, known=None):
        self.pairs += 1
        self.known = known
        first, *others = frames
        z = self.predict(first).values
        poses = tuple(self.pose(first, other) for other in others)
        return MultiView(z, torch.ones_like(z), poses)

    def pose(self, first, other):
        T = np.eye(4)
        T[0, 3] = float(other.rgb[0, 0, 0] - 1.0 * first.rgb[0, 0, 0]) / 100 / self.unit_m
        covariance = np.diag([1e-4] * 3 + [1e-6] * 3)
        return Pose(T, covariance, self.inliers, 1000) if T[0, 3] else None


def settings(mode, **parameters):
    values = {name.replace('__', '.'): value for name, value in parameters.items()}
    return with_values(Settings(), {'two_views.mode': mode, **values})


def views(mode, model, **parameters):
    chosen = settings(mode, **parameters)
    kind = {'stereo': SecondCamera, 'motion': EarlierFrame}[mode]
    return kind(Pipeline(model, chosen), chosen.two_views)


def run(views, *arguments, why=''):
    extra = {'why': why} if why else {}
    return views(*arguments, snapshot=views.pipeline.snapshot, **extra)


def frame(centimetres=0, stamp_s=0.0):
    rgb = torch.full((48, 64, 3), centimetres, dtype=torch.uint8)
    return Frame(rgb, CAM, round(stamp_s * S))


def pose(centimetres):
    T = np.eye(4)
    T[0, 3] = centimetres / 100
    return T


def test_a_known_distance_makes_metres_and_a_metric_pose():
    stereo = views('stereo', Wall())
    depth = run(stereo, frame(0), frame(12), 0.12)
    np.testing.assert_allclose(depth.z, 2.0, rtol=1e-5)
    assert depth.pose.length == pytest.approx(0.12)
    assert depth.confidence is not None
    assert stereo.report()['pairs accepted for scale'] == 1


def test_a_user_s_own_factor_needs_no_baseline():
    stereo = views('stereo', Wall(), scaling__method='constant', scaling__scale=0.5)
    depth = run(stereo, frame(0), frame(12), 0.24)  # whatever the cameras' distance
    np.testing.assert_allclose(depth.z, 2.0)
    assert depth.pose.length == pytest.approx(0.12)


def test_before_a_scale_there_is_no_depth_and_a_reason():
    stereo = views('stereo', Wall(inliers=0.3))
    with pytest.raises(ScaleError, match='30% inliers; the minimum is 50%'):
        run(stereo, frame(0), frame(12), 0.12)
    assert stereo.report()['baseline scale [m per unit]'] == 'not known yet'


def test_a_pair_without_a_scale_uses_the_last_one():
    model = Wall()
    stereo = views('stereo', model)
    run(stereo, frame(0), frame(12), 0.12)
    model.inliers = 0.1
    depth = run(stereo, frame(0), frame(24), 0.12)
    np.testing.assert_allclose(depth.z, 2.0, rtol=1e-5)
    assert depth.pose is None  # nor is its pose believed
    assert 'inliers' in stereo.report()['latest pair refused for scale']


def test_a_moving_camera_takes_earlier_frames_with_parallax():
    model = Wall()
    moving = views('motion', model)
    with pytest.raises(
        ScaleError, match=r'with 1\.5 to 25 deg of parallax; the camera has to move'
    ):
        run(moving, frame(0, 0.0), pose(0))
    with pytest.raises(ScaleError):  # 3 cm of way are too little
        run(moving, frame(3, 0.1), pose(3))
    assert model.pairs == 0
    for k in range(10):
        depth = run(moving, frame(20 + 4 * k, 0.2 + 0.1 * k), pose(20 + 4 * k))
    np.testing.assert_allclose(depth.z, 2.0, rtol=1e-5)
    assert model.pairs == 10 and depth.pose.T_first_second[0, 3] < 0
    assert 'deg of parallax' in moving.report()['views']


def test_several_earlier_frames_are_seen_at_once():
    model = Wall()
    moving = views('motion', model, two_views__views=4)
    for k in range(12):
        with contextlib.suppress(ScaleError):
            depth = run(moving, frame(10 + 8 * k, 0.1 * k), pose(10 + 8 * k))
    np.testing.assert_allclose(depth.z, 2.0, rtol=1e-5)
    assert len(model.known) == 3
    assert moving.report()['views'].startswith('4, ')
    # known are the poses of the earlier cameras in the present one, all to its left
    distances = [T[0, 3] for T in model.known]
    assert all(x < 0 for x in distances) and len(set(distances)) == 3


def test_a_network_is_given_the_poses_that_are_known():
    model = Wall()
    right = pose(12)
    run(views('stereo', model), frame(0), frame(12), right)
    np.testing.assert_array_equal(model.known, [right])
    run(views('stereo', model), frame(0), frame(12), 0.12)
    assert model.known is None


def test_a_unit_that_changes_with_each_run_is_measured_in_each():
    model = Wall()
    model.scale_memory = 1
    stereo = views('stereo', model)
    for model.unit_m in (0.5, 2.0, 0.1):
        depth = run(stereo, frame(0), frame(12), 0.12)
        np.testing.assert_allclose(depth.z, 2.0, rtol=1e-5)
        assert 0 < stereo.scale.spread < 1


def test_without_odometry_one_view_uses_the_last_scale():
    moving = views('motion', Wall())
    for k in range(3):
        try:
            run(moving, frame(20 * k, k / 10), pose(20 * k))
        except ScaleError:
            assert k == 0
    depth = run(moving, frame(60, 0.4), None, why='no odometry')
    np.testing.assert_allclose(depth.z, 2.0, rtol=1e-5)
    assert depth.pose is None
    assert moving.report()['views'] == 'one: no odometry'


def test_time_that_goes_back_resets_the_scale():
    moving = views('motion', Wall())
    with pytest.raises(ScaleError):
        run(moving, frame(0, 5.0), pose(0))
    run(moving, frame(20, 5.1), pose(20))
    with pytest.raises(ScaleError):
        run(moving, frame(40, 1.0), pose(40))
    assert moving.scale.scale is None


def test_a_bad_output_of_a_network_is_named():
    model = Wall(wall_m=float('nan'))
    with pytest.raises(InferenceError, match='no finite value'):
        run(views('stereo', model), frame(0), frame(12), 0.12)


def test_a_model_of_one_view_is_refused():
    class One:
        kind = Kind.SCALE_INVARIANT

        def predict(self, frame):
            raise NotImplementedError

    with pytest.raises(ConfigError, match='takes one view'):
        views('stereo', One())


def test_two_views_measure_the_scale_by_default():
    assert views('motion', Wall()).pipeline.snapshot.scaling.method == 'baseline'
    with pytest.raises(ConfigError, match=r"two_views\.mode is 'off'"):
        Pipeline(Wall(), settings('off', scaling__method='baseline'))


def test_one_view_alone_is_never_published_as_metres():
    with pytest.raises(ScaleError, match='this is one'):
        Pipeline(Wall(), settings('stereo'))(frame())


@pytest.mark.parametrize(
    ('parameters', 'said'),
    [
        ({'two_views__min_parallax': 30.0}, 'two_views.min_parallax is 30 and'),
        ({'scaling__method': 'as_is'}, 'cannot use scale_invariant'),
    ],
)
def test_settings_that_cannot_be_are_refused(parameters, said):
    with pytest.raises(ConfigError, match=said):
        views('motion', Wall(), **parameters)


def test_a_scaled_pose_keeps_its_angles_and_is_less_certain_along_the_translation():
    T = np.eye(4)
    T[:3, 3] = 0.0, 3.0, 4.0
    covariance = np.eye(6)
    covariance[0, 3] = covariance[3, 0] = 0.1
    scaled = Pose(T, covariance, 1.0, 10).scaled(2.0, 0.1)
    assert scaled.length == 10
    np.testing.assert_allclose(np.diag(scaled.covariance), [4, 4.36, 4.64, 1, 1, 1])
    assert scaled.covariance[0, 3] == pytest.approx(0.2)
    assert scaled.length_std == pytest.approx(np.hypot(2, 1))


class Changing(Wall):
    """Another scaling method is set while it predicts."""

    def predict_views(self, frames, known=None):
        self.interrupt()
        return super().predict_views(frames, known)


@pytest.mark.parametrize('to_constant', [True, False])
def test_a_method_that_changes_during_a_pair_does_not_mix_with_the_other(to_constant):
    constant = {'scaling__method': 'constant', 'scaling__scale': 3.75}
    model = Changing()
    model.interrupt = lambda: None
    stereo = views('stereo', model)
    run(stereo, frame(0), frame(12), 0.12)  # the scale of baseline is known: 0.5
    before, after = {}, constant
    if not to_constant:
        before, after = after, before
    stereo.pipeline.update(settings('stereo', **before))
    model.interrupt = lambda: stereo.pipeline.update(settings('stereo', **after))
    metres = {True: 2.0, False: 15.0}  # 4 units by 0.5, by 3.75
    z = run(stereo, frame(0), frame(12), 0.12).z
    np.testing.assert_allclose(z, metres[to_constant], rtol=1e-5)
    z = run(stereo, frame(0), frame(12), 0.12).z
    np.testing.assert_allclose(z, metres[not to_constant], rtol=1e-5)


class Rendered:
    """Knows depth and poses of a scene with some noise, in a unit that changes with each run."""

    kind = Kind.SCALE_INVARIANT
    scale_memory = 1

    def __init__(self, depths, T_first_other, units):
        self.depths, self.T_first_other, self.units = depths, T_first_other, iter(units)
        self.noise = torch.Generator().manual_seed(0)

    def predict_views(self, frames, known=None):
        unit = next(self.units)
        first, *others = (
            z / unit * torch.exp(0.02 * torch.randn(z.shape, generator=self.noise))
            for z in self.depths
        )
        sure = torch.ones(first.shape)
        poses = []
        for z, T in zip(others, self.T_first_other, strict=True):
            scaled = T.copy()
            scaled[:3, 3] /= unit
            poses.append(compared(scaled, (first, CAM), (z, CAM), sure))
        return MultiView(first, sure, tuple(poses))


@pytest.mark.parametrize('seed', [0, 2, 6])
def test_a_scene_is_at_its_distance_in_whatever_unit_the_network_has(seed):
    scene, way = random_scene(seed), path(random_scene(seed), seed)
    cameras = [way(t).double().numpy() for t in (1.0, 2.0)]
    depths = [render(scene, CAM, torch.tensor(T).float()).z for T in cameras]
    depths = [torch.where(torch.isfinite(z), z, 100.0) for z in depths]
    T = np.linalg.inv(cameras[0]) @ cameras[1]
    stereo = views('stereo', Rendered(depths, [T], (0.1, 3.0, 1.0)))
    for factor in (1, 1, 2):  # that is twice as far away, if the cameras are
        known = T.copy()
        known[:3, 3] *= factor
        depth = run(stereo, frame(), frame(), known)
        np.testing.assert_allclose(depth.z, factor * depths[0], rtol=0.1)
        assert depth.pose.inliers > 0.8
    known[:3, :3] = cv2.Rodrigues(np.array([0, 0.5, 0]))[0] @ T[:3, :3]
    stereo.model.units = iter([1.0])
    run(stereo, frame(), frame(), known)
    assert 'estimated axes are turned by 29 deg' in stereo.scale.refused
