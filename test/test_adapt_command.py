# SPDX-License-Identifier: Apache-2.0
"""`depth-ros adapt` on a rendered recording, from its images to weights that a node loads."""

import json
import math
import os
import re
import signal

import cv2
import numpy as np
import pytest
import torch

from depth_ros.checkpoints.adapted import GOOD, REFUSED, read_card
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.cli import main
from depth_ros.core.camera import Camera
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.offline.adapt import checks, examine, outcome, run
from depth_ros.offline.adapt.learn import Learner, Options
from depth_ros.offline.adapt.run import mixed, split
from depth_ros.offline.adapt.scene import Images
from depth_ros.offline.adapt.students import student_of
from depth_ros.offline.adapt.views import View, partners
from depth_ros.offline.adapt.warp import rotation
from depth_ros.offline.load import load
from depth_ros.offline.progress import Progress
from depth_ros.sim.world import random_pose, random_scene, render
from depth_ros.sim.world.seeds import TEST

SEED = TEST + 11  # a room
CAMERA = Camera(160, 120, 130.0, 130.0, 79.5, 59.5)
VIEWS = 16


@pytest.fixture(scope='module')
def shots():
    """Images, depth and poses of a camera that is carried around."""
    scene = random_scene(SEED)
    T_start = random_pose(scene, SEED).double()
    found = []
    for k in range(VIEWS):
        a = 0.28 * k
        T = torch.eye(4, dtype=torch.float64)
        turn = (0.06 * math.sin(0.9 * a), 0.25 * math.sin(0.6 * a), 0.05 * math.sin(1.1 * a))
        T[:3, :3] = rotation(torch.tensor([turn]))[0]
        T[:3, 3] = torch.tensor((0.18 * math.sin(a), 0.08 * math.sin(1.3 * a), 0.1 * math.sin(a)))
        image = render(scene, CAMERA, T_start @ T, sensor=False, supersample=2)
        found.append((image.rgb, image.z, (T_start @ T).numpy()))
    return found


def views_of(shots, focal=1.0):
    camera = Camera(160, 120, 130.0 * focal, 130.0 * focal, 79.5, 59.5)
    return [View(rgb, camera, T, str(k), 0, k) for k, (rgb, _, T) in enumerate(shots)]


def write(folder, shots, focal=1.0, pose=lambda T: T):
    """As 7-Scenes has it."""
    folder.mkdir()
    for k, (rgb, _, T) in enumerate(shots):
        cv2.imwrite(str(folder / f'frame-{k:06d}.color.png'), rgb.numpy()[..., ::-1])
        np.savetxt(folder / f'frame-{k:06d}.pose.txt', pose(T))
    camera = {'width': 160, 'height': 120, 'fx': 130 * focal, 'fy': 130 * focal, 'cx': 79.5,
              'cy': 59.5}  # fmt: skip
    (folder / 'intrinsics.json').write_text(json.dumps(camera))
    return folder


@pytest.fixture
def nano():
    return student_of('nano', ModelOptions(weights=PRESETS['nano'].source.packaged))


@pytest.fixture
def quick(monkeypatch):
    """Fewer steps and scenes than a user gets."""
    monkeypatch.setattr(checks, 'LENS_STEPS', 25)
    monkeypatch.setattr(outcome, 'SCENES', 2)
    monkeypatch.setattr(outcome, 'REHEARSED', 8)


def error_of(student, shots):
    """AbsRel in metres."""
    errors = []
    for rgb, z, _ in shots:
        known = torch.isfinite(z)
        found = torch.from_numpy(outcome.depth(student, rgb, CAMERA))
        errors.append(float(((found - z).abs() / z)[known].mean()))
    return float(np.mean(errors))


def test_depth_in_metres_is_learnt_from_images_and_poses_alone(shots, nano):
    images = Images.of(views_of(shots), nano, torch.device('cpu'))
    learner = Learner(images, partners(views_of(shots), 2.3), nano, Options(steps=40, batch=4))
    nano.rescale(1.4)
    before = error_of(nano, shots)
    learner.run(40)
    assert before > 0.25
    assert error_of(nano, shots) < 0.5 * before
    assert np.mean(learner.errors[-10:]) < np.mean(learner.errors[:10])


@pytest.mark.slow
def test_poses_with_noise_are_corrected(shots, nano):
    noise = np.random.default_rng(0)
    bent = []
    for rgb, z, T in shots:
        N = np.eye(4)
        turn = torch.from_numpy(np.radians(noise.normal(0, 0.5, (1, 3)))).float()
        N[:3, :3], N[:3, 3] = rotation(turn)[0].numpy(), noise.normal(0, 0.01, 3)
        bent.append((rgb, z, T @ N))
    images = Images.of(views_of(bent), nano, torch.device('cpu'))
    learner = Learner(images, partners(views_of(bent), 2.3), nano, Options(steps=60, batch=4))
    right = torch.from_numpy(np.linalg.inv(shots[0][2]) @ np.stack([T for _, _, T in shots]))

    def turns_deg():
        """Errors of the turns from view to view."""
        found = []
        for poses in (learner.poses().detach().double(), right):
            found.append(poses[:-1, :3, :3].transpose(1, 2) @ poses[1:, :3, :3])
        trace = (found[0].transpose(1, 2) @ found[1]).diagonal(dim1=1, dim2=2).sum(1)
        return float(torch.rad2deg(((trace - 1) / 2).clamp(-1, 1).acos()).mean())

    before = turns_deg()
    learner.run(60)
    assert turns_deg() < 0.9 * before


@pytest.mark.slow
@pytest.mark.parametrize('focal', [0.9, 1.1])
def test_a_wrong_focal_length_is_found(shots, nano, focal):
    views = views_of(shots, focal)
    images = Images.of(views, nano, torch.device('cpu'))
    start = {name: value.clone() for name, value in nano.network.state_dict().items()}
    options = Options(steps=60, batch=4, turn_deg=0.0)
    found = checks.find_lens(images, partners(views, 2.3), nano, options)
    assert focal * found.focal == pytest.approx(1, abs=0.03)
    assert abs(found.radial) < 0.03
    for name, value in nano.network.state_dict().items():
        assert torch.equal(value, start[name]), 'the network is as it was'


def test_a_clock_that_is_late_is_found(shots, nano):
    """Poses that are those of the image after."""
    views = views_of(shots)
    images = Images.of(views, nano, torch.device('cpu'))
    log_z = checks.log_depths(images, nano) + math.log(1.2)
    poses = images.poses

    def poses_at(offset_s):
        k = torch.arange(len(views)) + 1 + round(offset_s / 0.1)
        known = (k >= 0) & (k < len(views))
        return torch.where(known[:, None, None], poses[k.clamp(0, len(views) - 1)], torch.nan)

    offset_s, errors = checks.find_offset(
        images, log_z, partners(views, 2.3), poses_at, (-0.2, -0.1, 0.0, 0.1)
    )
    assert offset_s == -0.1 and min(errors) < 0.9 * errors[2]


def test_the_command_writes_weights_that_a_node_loads(shots, tmp_path, quick, capsys):
    recording, out = write(tmp_path / 'room', shots), tmp_path / 'room.safetensors'
    words = ['adapt', str(recording), '--out', str(out), '--steps', '30', '--batch', '4']
    assert main(words) == 0
    shown = capsys.readouterr()
    assert 'good     focal length: 130 px as stated' in shown.out
    card = read_card(out)
    assert card.preset == 'nano' and card.start.name == 'nano (packaged)'
    assert card.licence == PRESETS['nano'].source.licence
    assert card.recordings[0].images == VIEWS and card.learnt.steps == 30
    assert {check.verdict for check in card.checks} == {GOOD}
    assert card.photometric_after < card.photometric_before
    assert 0.5 < card.coverage[0].share <= 1
    page = out.with_suffix('.html').read_text()
    assert 'adapted to room' in page and 'model:=nano' in page
    _, choices = load({'model': 'nano', 'weights': str(out), 'device': 'cpu'})
    assert 'adapted on' in choices.adapted and 'room (16 images)' in choices.adapted
    start = read_checkpoint(PRESETS['nano'].source.packaged)
    assert read_checkpoint(out).keys() == start.keys()
    assert main(words) == 2 and 'exists' in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_learnt_and_it_goes_on(shots, tmp_path, quick, monkeypatch, capsys):
    """The same weights as without the interruption."""
    recording = write(tmp_path / 'room', shots[:8])
    monkeypatch.setattr(checks, 'LENS_STEPS', 5)  # it is examined four times
    words = ['adapt', str(recording), '--steps', '10', '--batch', '2', '--force', '--out']
    whole, cut = tmp_path / 'whole.safetensors', tmp_path / 'cut.safetensors'
    assert main([*words, str(whole)]) == 0
    shown = Progress.at

    def interrupt(self, done):
        shown(self, done)
        if done == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, 'at', interrupt)
        assert main([*words, str(cut)]) == 130
    assert '--resume goes on' in capsys.readouterr().out
    assert read_card(cut).learnt.stopped_early and read_card(cut).learnt.steps == 5
    assert main([*words, str(cut), '--seed', '1', '--resume']) == 2
    assert 'is of other recordings, weights or options' in capsys.readouterr().err
    assert main([*words, str(cut), '--resume']) == 0
    assert 'goes on after step 5 of 10' in capsys.readouterr().out
    assert not cut.with_name('cut.safetensors.unfinished').exists()
    one, other = read_checkpoint(whole), read_checkpoint(cut)
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5)


def test_ctrl_c_before_the_first_step_writes_nothing(shots, tmp_path, quick, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checks, 'LENS_STEPS', 1)
    monkeypatch.setattr(run.Run, 'error', interrupt)
    out = tmp_path / 'room.safetensors'
    recording = write(tmp_path / 'room', shots[:8])
    assert main(['adapt', str(recording), '--force', '--out', str(out)]) == 130
    assert not [*tmp_path.glob('room.safetensors*')]


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (('--compare', 'other_room'), 'other_room does not exist'),
        (('--rehearsal', '-1'), "'-1' is neither 0 nor a number above 0"),
    ],
)
def test_a_wrong_argument_is_told_before_anything_is_learnt(
    shots, tmp_path, monkeypatch, capsys, words, reason
):
    def learn(*_):
        pytest.fail('it has begun to learn')

    monkeypatch.setattr(run.Run, 'learn', learn)
    recording, out = write(tmp_path / 'room', shots[:8]), tmp_path / 'room.safetensors'
    try:
        status = main(['adapt', str(recording), '--force', '--out', str(out), *words])
    except SystemExit as ended:  # by argparse
        status = ended.code
    assert status == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'focal': 1.15}, 'focal length: 150 px as stated, 1[23]'),
        ({'pose': np.linalg.inv}, 'poses: depth and motion explain'),
        ({'pose': lambda T: T @ np.diag((1.0, -1, -1, 1))}, 'poses: depth and motion explain'),
    ],
    ids=['focal length', 'inverse poses', 'other axes'],
)
def test_a_recording_that_would_make_wrong_metres_is_refused(
    shots, tmp_path, monkeypatch, capsys, change, reason
):
    monkeypatch.setattr(checks, 'LENS_STEPS', 50)
    recording, out = write(tmp_path / 'room', shots, **change), tmp_path / 'room.safetensors'
    assert main(['adapt', str(recording), '--out', str(out), '--steps', '10']) == 2
    error = capsys.readouterr().err
    assert 'nothing is learnt' in error and re.search(reason, error), error
    assert not out.exists()


def test_rehearsal_keeps_the_depth_of_other_scenes(shots, nano, quick):
    """Beside the same learning without."""
    images = Images.of(views_of(shots), nano, torch.device('cpu'))
    kept = outcome.rehearsal(images.input, nano)
    start = nano.state()
    changes = []
    for rehearsal in (None, kept):
        nano.network.load_state_dict(start)
        options = Options(steps=15, batch=2, rehearsal=1.0)
        pairs = partners(views_of(shots), 2.3)
        Learner(images, pairs, nano, options, rehearsal=rehearsal).run(15)
        with torch.no_grad():
            log_z = nano.log_depth(kept.rgb, kept.camera)
        changes.append(float((log_z - kept.log_z).abs().mean()))
    assert changes[1] < 0.5 * changes[0]


def test_the_state_of_a_network_stays_while_it_learns(nano):
    start = nano.state()
    before = {name: value.clone() for name, value in start.items()}
    nano.rescale(2.0)
    assert all(torch.equal(start[name], value) for name, value in before.items())
    assert any(not torch.equal(nano.state()[name], value) for name, value in before.items())


def test_half_of_what_was_learnt_is_between():
    start = {'a': torch.zeros(3), 'n': torch.tensor(1)}
    end = {'a': torch.ones(3), 'n': torch.tensor(2)}
    assert torch.equal(mixed(start, end, 0.5)['a'], torch.full((3,), 0.5))
    assert int(mixed(start, end, 0.5)['n']) == 2
    assert mixed(start, end, 1.0)['a'] is end['a']


def test_nothing_is_learnt_from_views_that_are_held_out():
    found = {k: tuple(o for o in range(30) if 0 < abs(o - k) < 4) for k in range(30)}
    learnt, held_out = split(found)
    assert len(held_out) == 3 and not set(held_out) & set(learnt)
    assert not {o for others in learnt.values() for o in others} & set(held_out)
    assert split({0: (1,), 1: (0,)})[1] == {}, 'few images are all needed'


def test_what_is_covered_is_the_share_of_pixels_that_others_see(shots, nano):
    views = views_of(shots)
    images = Images.of(views, nano, torch.device('cpu'))
    log_z = checks.log_depths(images, nano)
    assert checks.covered(images, log_z, [3], [3]) == pytest.approx(1, abs=0.03)
    turned = images.poses.clone()
    turned[3, :3, :3] = turned[3, :3, :3] @ rotation(torch.tensor([[0.0, math.pi, 0.0]]))[0]
    away = Images(images.rgb, images.camera, turned, images.input)
    assert checks.covered(away, log_z, [3], [0, 1, 2]) == 0


def test_a_blurred_image_is_less_sharp(shots, nano):
    images = Images.of(views_of(shots), nano, torch.device('cpu'))
    images.rgb[3] = torch.nn.functional.avg_pool2d(images.rgb[3], 7, 1, 3)
    sharp = checks.sharpness(images)
    assert sharp.argmin() == 3 and sharp[3] < checks.BLURRED * sharp.quantile(0.8)
    assert examine._blur_check(images).verdict == GOOD, 'one image is no reason to warn'
    images.rgb[:8] = torch.nn.functional.avg_pool2d(images.rgb[:8], 7, 1, 3)
    assert REFUSED != examine._blur_check(images).verdict != GOOD
