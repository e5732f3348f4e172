# SPDX-License-Identifier: Apache-2.0
"""Anchors through the pipeline: from frames and pixels of known depth to published metres."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from depth_ros.cli import main
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, ImageError, ScaleError
from depth_ros.core.types import Anchors, Frame, Kind, Prediction
from depth_ros.offline import anchors_file
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import ScalingSettings, Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.scaling import Scaling
from depth_ros.pipeline.scaling.anchored import AnchoredScale

S = 1_000_000_000
H, W = 48, 64
CAM = Camera(W, H, 60.0, 60.0, 31.5, 23.5)
RGB = torch.zeros((H, W, 3), dtype=torch.uint8)
NONE = Anchors(*(np.empty(0) for _ in range(4)))


def scene():
    """True depth of a floor and a box, 1.2 to 6 m."""
    z = np.linspace(6, 1.2, H)[:, None] * np.ones(W)
    z[8:36, 10:40] = 2.0
    return z


def some(z, n=60, seed=0, sigma=0.01):
    rng = np.random.default_rng(seed)
    v, u = rng.integers(0, H, n), rng.integers(0, W, n)
    return Anchors(u.astype(float), v.astype(float), z[v, u], sigma * z[v, u])


class Network:
    """Predicts what it is set to."""

    def __init__(self, kind=Kind.SCALE_INVARIANT):
        self.kind = kind
        self.values = None

    def predict(self, frame):
        extra = {'focal_px': (30.0, 30.0)} if self.kind is Kind.CANONICAL else {}
        return Prediction(torch.from_numpy(self.values.astype(np.float32)), self.kind, **extra)


class Robot:
    """A pipeline with one camera, whose anchors are set for each frame."""

    def __init__(self, kind=Kind.SCALE_INVARIANT, **parameters):
        values = {f'scaling.{name}': value for name, value in parameters.items()}
        self.network = Network(kind)
        settings = with_values(Settings(), {'scaling.method': 'anchors', **values})
        self.pipeline = Pipeline(self.network, settings)
        self.found = {}
        self.scale = AnchoredScale(lambda frame, prediction: self.found)

    def __call__(self, values, anchors, t_s, rgb=RGB):
        """Depth of a frame at `t_s` [s]; anchors None for no news."""
        self.network.values = values
        self.found = anchors if isinstance(anchors, dict) else {'a': anchors} if anchors else {}
        frame = Frame(rgb, CAM, round(t_s * S))
        return self.pipeline(frame, scale=self.scale).z.numpy()


def error(z, true):
    return np.abs(z / true - 1).mean()


# One frame


@pytest.mark.parametrize('kind', list(Kind))
def test_every_kind_of_network_gets_metres(kind):
    z = scene()
    network = Network(kind)
    network.values = 1 / z * 3 + 0.2 if kind is Kind.AFFINE_INVERSE else z / 7
    pipeline = Pipeline(network, with_values(Settings(), {'scaling.method': 'anchors'}))
    found = pipeline(Frame(RGB, CAM), anchors=some(z)).z.numpy()
    assert error(found, z) < 1e-3


def test_frames_with_their_own_anchors_are_independent():
    z = scene()
    network = Network()
    pipeline = Pipeline(network, with_values(Settings(), {'scaling.method': 'anchors'}))
    for factor in (1.0, 30.0, 0.2):
        network.values = z * factor
        assert error(pipeline(Frame(RGB, CAM), anchors=some(z)).z.numpy(), z) < 1e-3


def test_without_anchors_there_is_no_depth_and_a_reason():
    pipeline = Robot().pipeline
    pipeline.model.values = scene()
    with pytest.raises(ScaleError, match='there are none for this image'):
        pipeline(Frame(RGB, CAM))
    with pytest.raises(ScaleError, match='no anchors yet'):
        pipeline(Frame(RGB, CAM), anchors=NONE)
    outside = Anchors(*np.array([[-9.0], [0], [1], [1]]))
    with pytest.raises(ScaleError, match='all 1 are outside the image'):
        pipeline(Frame(RGB, CAM), anchors=outside)


def test_anchors_that_the_method_does_not_use_are_refused():
    network = Network(Kind.METRIC)
    network.values = scene()
    with pytest.raises(ConfigError, match="set it to 'anchors'"):
        Pipeline(network, Settings())(Frame(RGB, CAM), anchors=some(scene()))


def test_what_the_method_measures_cannot_be_set():
    for settings in (ScalingSettings('anchors', 2.0), ScalingSettings('anchors', 1.0, 0.1)):
        with pytest.raises(ConfigError, match="'anchors' measures them"):
            Scaling(settings, Kind.AFFINE_INVERSE)
    with pytest.raises(ConfigError, match='takes one view'):
        Scaling(ScalingSettings('anchors'), Kind.SCALE_INVARIANT, two_views=True)


def test_cameras_without_anchors_cost_the_others_nothing():
    robot = Robot()
    robot.network.values, robot.found = scene() / 3, {'a': some(scene())}
    frames = [Frame(RGB, CAM)] * 2
    pipeline = robot.pipeline
    good, bad = pipeline.many(frames, pipeline.snapshot, scales=[robot.scale, None])
    assert error(good.z.numpy(), scene()) < 1e-3 and isinstance(bad, ScaleError)


def test_range_and_sky_are_marked_after_the_metres():
    robot = Robot()
    z = scene()
    z[:5] = 50.0
    robot.pipeline.update(
        with_values(robot.pipeline.snapshot.settings, {'range.max': 20.0, 'range.min': 1.5})
    )
    found = robot(z / 10, some(z), 0)
    assert (found[:5] == np.inf).all() and (found[z < 1.4] == -np.inf).all()


# A sequence


def test_a_network_whose_scale_jitters_is_steadied():
    """10 % in each frame of 30 Hz; anchors at 10 Hz, 30 % of them wrong."""
    z = scene()
    robot, rng, depths = Robot(), np.random.default_rng(0), []
    for k in range(150):
        jitter = np.exp(rng.normal(0, 0.1))
        anchors = some(z, seed=k) if k % 3 == 0 else None
        if anchors:
            wrong = rng.random(len(anchors)) < 0.3
            factor = np.exp(np.where(wrong, rng.uniform(-1.2, 1.1, len(anchors)), 0))
            anchors = dataclasses.replace(anchors, z=anchors.z * factor)
        depths.append(robot(z / 3 * jitter, anchors, k / 30)[20, 20])
    late = np.array(depths[30:])
    assert np.std(late) / 2.0 < 0.01 and abs(np.mean(late) - 2.0) < 0.02


@pytest.mark.parametrize('which', ['network', 'scene'])
def test_a_jump_is_followed_within_a_second(which):
    z = scene()
    robot = Robot()
    after = z * 1.3 if which == 'scene' else z
    for k in range(90):
        jumped = k >= 45
        true = after if jumped else z
        values = true / 3 * (1.3 if jumped and which == 'network' else 1)
        found = robot(values, some(true, seed=k) if k % 3 == 0 else None, k / 30)
        if not 45 <= k < 75:
            assert error(found, true) < 0.02, k


def noisy(anchors, seed, std=0.02, wrong=0.3):
    rng = np.random.default_rng(seed)
    factor = np.exp(rng.normal(0, std, len(anchors)))
    bad = rng.random(len(anchors)) < wrong
    factor[bad] = np.exp(rng.uniform(-1.2, 1.1, bad.sum()))
    return dataclasses.replace(anchors, z=anchors.z * factor)


def test_where_nothing_moves_the_fits_are_averaged():
    """The network's errors of 20 % are seen by other anchors in each frame."""
    z = scene()
    robot, depths, fits = Robot(), [], []
    smooth = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, z.shape), (0, 0), 6)
    values = z / 3 * np.exp(0.2 * smooth / smooth.std())
    for k in range(60):
        depths.append(np.log(robot(values, noisy(some(z, 100, k), k), k / 10)))
        alone = Robot()
        fits.append(np.log(alone(values, noisy(some(z, 100, k), k), 0)))
    averaged, single = (np.std(np.array(x)[20:], axis=0).mean() for x in (depths, fits))
    assert averaged < 0.35 * single
    wrong = [np.mean([error(np.exp(d), z) for d in x[20:]]) for x in (depths, fits)]
    assert wrong[0] < 0.9 * wrong[1]


def test_depth_of_a_moving_camera_is_not_late():
    """It drives towards a wall at 30 % of its distance in a second: each image is another one."""
    rng = np.random.default_rng(0)
    robot = Robot()
    for k in range(40):
        z = scene() * np.exp(-0.03 * k)
        rgb = torch.from_numpy(rng.integers(0, 255, (H, W, 3), np.uint8))
        found = robot(z / 3, noisy(some(z, seed=k), k), k / 10, rgb)
        assert abs(np.log(np.median(found / z))) < 0.015, k


def test_one_bad_fit_does_not_move_what_stands_still():
    z = scene()
    robot = Robot()
    for k in range(30):
        robot(z / 3, noisy(some(z, seed=k), k), k / 10)
    bad = dataclasses.replace(some(z), z=some(z).z * 1.08)
    assert error(robot(z / 3, bad, 3.0), z) < 0.02
    for k in range(1, 10):
        found = robot(z / 3, bad, 3.0 + k / 10)
    assert error(found, 1.08 * z) < 0.03, 'but many in turn do'


def test_a_silent_source_is_bridged_and_then_stops():
    z = scene()
    robot = Robot(max_age=2.0)
    for k in range(10):
        robot(z / 3, some(z, seed=k), k / 10)
    assert robot.scale.state.age_s == 0
    found = robot(z / 3, None, 2.8)
    assert error(found, z) < 1e-3 and robot.scale.state.age_s == pytest.approx(1.9)
    spread = robot.scale.state.spread
    with pytest.raises(ScaleError, match=r'3\.1 s old, and scaling\.max_age is 2 s'):
        robot(z / 3, None, 4.0)
    assert robot.scale.state.age_s == pytest.approx(3.1)
    assert error(robot(z / 3, some(z), 4.1), z) < 1e-3
    assert robot.scale.state.spread < spread


def test_the_scale_may_be_held_for_ever():
    z = scene()
    robot = Robot(max_age=2.0, after_max_age='hold')
    robot(z / 3, some(z), 0)
    assert error(robot(z / 3, None, 3600), z) < 1e-3
    assert robot.scale.state.age_s == 3600


def test_bad_anchors_are_as_good_as_none():
    z = scene()
    robot = Robot()
    for k in range(10):
        robot(z / 3, some(z, seed=k), k / 10)
    rng = np.random.default_rng(0)
    lies = dataclasses.replace(some(z), z=np.exp(rng.uniform(-2.3, 2.3, 60)))
    assert error(robot(z / 3, lies, 1.0), z) < 1e-3
    assert 'contradict' in robot.scale.state.reason and robot.scale.state.age_s > 0
    tripled = dataclasses.replace(some(z), z=3 * some(z).z)
    assert error(robot(z / 3, tripled, 1.1), z) < 1e-3
    assert 'factor of 3.00' in robot.scale.state.reason
    robot(z / 3, some(z), 1.2)
    assert robot.scale.state.reason == ''


def test_time_that_goes_back_starts_again():
    z = scene()
    robot = Robot()
    robot(z / 3, some(z), 100)
    with pytest.raises(ScaleError, match='no anchors yet'):
        robot(z / 3, None, 5)
    assert error(robot(z / 9, some(z), 5.1), z) < 1e-3


def test_several_sources_are_weighted_by_their_sigma():
    z = scene()
    robot = Robot(max_order='scale')
    rough = some(z, 60, 1, 0.5)
    rough = dataclasses.replace(rough, z=rough.z * 1.2)
    found = robot(z / 3, {'lidar': some(z, 40, 0, 0.01), 'rough': rough}, 0)
    assert error(found, z) < 0.03 and robot.scale.state.sources == ('lidar', 'rough')


def test_a_source_that_pauses_still_counts_in_the_next_frame():
    """A slow LiDAR and a height for each frame: the shape of the LiDAR's fit stays."""
    z = scene()
    robot = Robot(kind=Kind.AFFINE_INVERSE)
    floor = Anchors(np.arange(20.0), np.full(20, 47.0), z[47, :20], 0.1 * z[47, :20])
    for k in range(12):
        found = robot(
            3 / z + 0.2, {'height': floor} | ({'points': some(z)} if k % 4 == 0 else {}), k / 30
        )
        assert error(found, z) < 0.02, k


def test_a_field_fades_when_the_source_is_silent():
    z = scene()
    values = z / 3 * np.exp(0.4 * np.sin(np.arange(W) / 12))
    robot = Robot(after_max_age='hold')
    with_field = robot(values, some(z, 200), 0)
    assert robot.scale.state.order == 'field'
    soon, later = robot(values, None, 0.2), robot(values, None, 3)
    np.testing.assert_allclose(soon, with_field, rtol=0.01)
    assert error(with_field, z) < 0.1 < error(later, z)
    assert abs(np.log(np.median(later / z))) < 0.2


def test_scale_and_shift_hold_for_affine_inverse_depth():
    z = scene()
    robot = Robot(kind=Kind.AFFINE_INVERSE)
    for k in range(20):
        found = robot(3 / z + 0.2, some(z, seed=k, sigma=0.02), k / 10)
    assert error(found, z) < 1e-3
    assert robot.scale.state.scale == pytest.approx(1 / 3, rel=1e-3)
    assert robot.scale.state.shift == pytest.approx(-0.2 / 3, rel=1e-2)
    assert error(robot(3 / z + 0.2, None, 4), z) < 1e-3


def test_the_report_has_numbers_and_words():
    robot = Robot()
    assert robot.scale.state.named()['anchors not used'] == 'no anchors yet'
    robot(scene() / 3, some(scene()), 0)
    named = robot.scale.state.named()
    assert (named['scale'], named['anchors used'], named['anchors refused']) == ('3', '60', '0')
    assert named['sources of anchors'] == 'a' and named['order of the fit'] == 'scale'


# Files


def test_every_kind_of_file_has_the_same_anchors(tmp_path):
    z = np.zeros((H, W))
    z[3, 5], z[40, 60] = 2.0, 3.5
    rows = np.array([[5, 3, 2.0], [60, 40, 3.5]])
    cv2.imwrite(str(tmp_path / 'a.png'), (z * 256).astype(np.uint16))
    np.save(tmp_path / 'b.npy', z)
    np.save(tmp_path / 'c.npy', rows)
    np.save(tmp_path / 'd.npy', np.c_[rows, [0.04, 0.07]])
    np.savez(tmp_path / 'e.npz', u=rows[:, 0], v=rows[:, 1], z=rows[:, 2])
    np.save(tmp_path / 'f.npy', np.where(z > 0, z, np.nan))
    for path in sorted(tmp_path.iterdir()):
        found = anchors_file.read(path, (H, W), 256.0)
        np.testing.assert_allclose(np.stack([found.u, found.v, found.z], 1), rows)
        np.testing.assert_allclose(found.sigma, [0.04, 0.07])


def test_files_that_are_no_anchors_are_refused_by_name(tmp_path):
    cv2.imwrite(str(tmp_path / 'bytes.png'), np.zeros((H, W), np.uint8))
    cv2.imwrite(str(tmp_path / 'small.png'), np.ones((4, 4), np.uint16))
    cv2.imwrite(str(tmp_path / 'empty.png'), np.zeros((H, W), np.uint16))
    np.save(tmp_path / 'cube.npy', np.ones((2, 2, 2)))
    np.save(tmp_path / 'objects.npy', np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / 'no_z.npz', u=np.ones(2), v=np.ones(2))
    np.savez(tmp_path / 'uneven.npz', u=np.ones(2), v=np.ones(2), z=np.ones(3))
    (tmp_path / 'text.npz').write_text('no')
    for path in [*tmp_path.iterdir(), tmp_path / 'missing.png']:
        with pytest.raises(ImageError, match=f'{path.name} has no anchors'):
            anchors_file.read(path, (H, W))


def test_run_takes_anchors(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'yard.png'), np.zeros((H, W, 3), np.uint8))
    true = 2 * 1.2 * 50 / (np.arange(H) - 23.5)  # the network's floor is twice as far
    v = np.arange(30, 48)
    np.save(tmp_path / 'a.npy', np.stack([np.full(18, 20), v, true[v]], 1))
    command = ['run', str(tmp_path / 'yard.png'), '--model', 'flat_ground', '--fx', '50']
    command += ['--anchors', str(tmp_path / 'a.npy')]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert 'scaling anchors' in out and '18 anchors agree, 0 do not' in out
    z = np.load(tmp_path / 'yard_depth.npy')
    np.testing.assert_allclose(z[v, 5], true[v], rtol=1e-4)
    assert main([*command, '-p', 'scaling.max_age:=3']) == 2
    assert 'only depth_node and bags use it' in capsys.readouterr().err
    assert main([*command, '-p', 'scaling.method:=as_is']) == 2
    assert "set it to 'anchors'" in capsys.readouterr().err
