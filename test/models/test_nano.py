# SPDX-License-Identifier: Apache-2.0
"""The preset nano: weights that come along, metres that follow the lens, training that learns."""

import dataclasses
import json
import math
import socket
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from depth_ros.checkpoints.find import find_weights
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, DepthRosError, WeightsError
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models import load as load_preset
from depth_ros.models.nano.network import FOCAL, Nano, input_size, slopes
from depth_ros.parameters.layers import preset_values, with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.build import build
from depth_ros.pipeline.scaling.canonical_focal import to_metres
from depth_ros.sim.world.seeds import HELD_OUT, TEST, VALIDATION
from tools.train import __main__ as trainer
from tools.train import evaluate
from tools.train.augment import make_batch
from tools.train.evaluate import frames, mean_score, with_wrong_focal
from tools.train.loop import NAME, Plan, train
from tools.train.loss import Score, loss
from tools.train.samples import CHUNK, chunk_seeds, first_seed, render_samples

PRESET = PRESETS['nano']
CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)


@pytest.fixture(scope='module')
def model():
    return load_preset('nano', ModelOptions(weights=find_weights('', PRESET.source)))


@pytest.fixture(scope='module')
def world():
    """Twelve held-out pictures with their depth."""
    return frames(range(TEST, TEST + 12), (144, 192))


def test_it_is_small():
    assert sum(p.numel() for p in Nano().parameters()) <= 4_000_000
    assert PRESET.source.packaged.stat().st_size <= 10_000_000


def test_its_weights_are_in_the_package(monkeypatch):
    def refuse(*_):
        raise AssertionError('the network was used')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    settings = with_values(Settings(model='nano', device='cpu'), preset_values('nano'))
    pipeline, choices = build(settings)
    assert choices.licence == 'Apache-2.0' and choices.weights == str(PRESET.source.packaged)
    assert pipeline.model.kind is Kind.CANONICAL and settings.range.max == 80.0


def test_a_focal_length_twice_as_long_is_twice_the_depth(model, world):
    frame, _ = world[0]
    both = (frame, with_wrong_focal(frame, 2.0))
    near, far = (to_metres(model.predict(f), f.camera) for f in both)
    seen = torch.isfinite(near)
    torch.testing.assert_close(far[seen], 2 * near[seen])


def test_a_smaller_picture_with_its_intrinsics_has_the_same_metres(model, world):
    ratios = []
    for frame, _ in world:
        half = frame.rgb.reshape(72, 2, 96, 2, 3).float().mean((1, 3)).round().byte()
        small = Frame(half, frame.camera.resized(96, 72))
        a, b = (to_metres(model.predict(f), f.camera) for f in (frame, small))
        ratios.append(float(b.nanmedian() / a.nanmedian()))
    # both come to the same network input up to rounding
    assert ratios == pytest.approx([1.0] * len(ratios), rel=0.03)


def test_an_upright_picture_is_taken_as_it_is(model, world):
    frame, _ = world[0]
    upright = Frame(frame.rgb[:, 42:150].contiguous(), frame.camera.cropped(42, 0, 108, 144))
    prediction = model.predict(upright)
    assert model.network_size(144, 108) == (96, 72)
    assert prediction.values.shape == prediction.sky.shape == (144, 108)
    assert prediction.sky.dtype == torch.bool
    assert prediction.focal_px == (FOCAL * 108 / 72, FOCAL * 144 / 96)


@pytest.mark.parametrize(
    ('image', 'network'),
    [
        ((480, 640), (72, 96)),
        ((720, 1280), (64, 112)),
        ((375, 1242), (48, 152)),
        ((512, 512), (80, 80)),
        ((640, 480), (96, 72)),
        ((100, 1000), (32, 264)),
    ],
)
def test_an_input_of_any_aspect_has_the_same_area(image, network):
    assert input_size(*image) == network


@pytest.mark.parametrize(('width', 'warned'), [(178, False), (75, False), (330, True), (60, True)])
def test_an_aspect_far_from_the_training_images_is_a_warning(caplog, width, warned):
    fresh = load_preset('nano', ModelOptions(weights=PRESET.source.packaged))
    camera = Camera(width, 100, 90.0, 90.0, width / 2, 50.0)
    fresh.predict(Frame(torch.zeros(100, width, 3, dtype=torch.uint8), camera))
    assert ('Crop them, or choose another model' in caplog.text) == warned


def test_slopes_use_the_principal_point_without_distortion():
    at = slopes(CAMERA)
    assert at.shape == (2, 240, 320)
    assert at[0, 0, 0] == pytest.approx(-159.5 / FOCAL)
    assert at[1, -1, 0] == pytest.approx((239 - 119.5) / FOCAL)
    torch.testing.assert_close(slopes(dataclasses.replace(CAMERA, fx=500.0, fy=500.0)), at)


def test_it_generalises_and_needs_the_right_focal_length(model, world):
    def metres(frame):
        prediction = model.predict(frame)
        return torch.where(prediction.sky, torch.inf, to_metres(prediction, frame.camera))

    right = mean_score(metres, world)
    wrong = mean_score(lambda frame: metres(with_wrong_focal(frame, 2.0)), world)
    constant = mean_score(lambda frame: torch.full(frame.camera.size, 2.5), world)
    # bounds for weights of half an hour on two CPU cores; tighten them with better ones
    assert right.abs_rel_median < 0.75 * constant.abs_rel_median
    assert right.abs_rel < constant.abs_rel and right.delta1 > constant.delta1
    assert wrong.abs_rel > 1.8 * right.abs_rel


@pytest.mark.parametrize('size', [1, 31])
def test_an_input_below_the_stride_is_refused(size):
    with pytest.raises(ConfigError, match='the minimum is 32'):
        load_preset('nano', ModelOptions(weights=PRESET.source.packaged, input_size=size))


def test_another_network_is_refused(tmp_path):
    torch.save({'encoder.conv1.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    with pytest.raises(WeightsError, match='leave weights empty'):
        load_preset('nano', ModelOptions(weights=tmp_path / 'other.pth'))


@pytest.fixture(scope='module')
def views():
    return render_samples(list(range(HELD_OUT, HELD_OUT + 4)), (96, 128))


@pytest.mark.parametrize('size', [(80, 104), (48, 152), (96, 72)])
def test_a_window_and_a_mirror_keep_the_metres_exact(views, size):
    """A batch's pixels, back-projected with its intrinsics, are those of the view."""
    generator = torch.Generator().manual_seed(3)
    b = make_batch(views, size, generator)
    # the slopes hold the principal point, log_focal_ratio the focal length: x / z follows
    focal = FOCAL / b.log_focal_ratio.exp()
    x = b.x[:, 3] * FOCAL / focal[:, None, None]  # (B, h, w) slope of the true camera
    width, middle = x[:, 0, -1] - x[:, 0, 0], size[0] // 2
    full = (views.z.shape[2] - 1) / views.k[:, 0] * min(1.0, size[1] / size[0] * 96 / 128)
    assert (width < full).all() and (width > 0.75 * full).all()
    for n in range(len(views)):
        k = views.k[n]
        # every depth of the batch is visible, in the row of its slope
        rows = (b.x[n, 4, :, 0] * FOCAL / focal[n]) * k[1] + k[3]
        row = int(rows[middle].round())
        near_row = views.z[n, row - 1 : row + 2].float().flatten()
        assert torch.isin(b.z[n, middle], near_row).float().mean() > 0.99


def test_the_loss_of_the_truth_is_zero(views):
    b = make_batch(views, (96, 128), None)
    sky = torch.isinf(b.z)
    truth = b.z.clamp(0.3, 80.0).log() + b.log_focal_ratio[:, None, None]
    logits = torch.where(sky, 30.0, -30.0)
    assert float(loss(truth, logits, b.z, b.log_focal_ratio)) == pytest.approx(0.0, abs=1e-4)
    assert float(loss(truth + 0.5, logits, b.z, b.log_focal_ratio)) > 0.4


def test_a_score_sees_scale_and_shape_apart():
    truth = torch.linspace(1, 5, 10_000).reshape(100, 100)
    twice = Score.of(2 * truth, truth)
    assert twice.abs_rel == pytest.approx(1.0) and twice.delta1 == 0.0
    assert twice.abs_rel_median == pytest.approx(0.0, abs=1e-6) and twice.delta1_median == 1.0
    assert Score.of(torch.full_like(truth, torch.inf), truth).abs_rel > 5


def test_training_learns_and_leaves_weights_that_load(tmp_path):
    threads = torch.get_num_threads()
    plan = Plan(tmp_path, minutes=2, steps=60, batch=8, size=(48, 64), validation=8, capacity=256)
    progress = train(plan)
    torch.set_num_threads(threads)
    losses = progress.losses
    assert progress.steps == len(losses) == 60
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    model = load_preset('nano', ModelOptions(weights=tmp_path / NAME))
    picture = torch.zeros((60, 80, 3), dtype=torch.uint8)
    camera = Camera(80, 60, 70.0, 70.0, 39.5, 29.5)
    assert model.predict(Frame(picture, camera)).values.shape == (60, 80)


def test_no_held_out_seed_is_trained_on():
    for start in (0, HELD_OUT - 4, HELD_OUT, 3 * HELD_OUT + 5):
        assert len(chunk_seeds(start)) == len(set(chunk_seeds(start))) == CHUNK
        assert max(chunk_seeds(start)) < HELD_OUT <= TEST < VALIDATION


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        (['--minutes', 'nan'], "'nan' is not a number above 0"),
        (['--batch', '-4'], "'-4' is not an integer above 0"),
        (['--seed', '10000'], '--seed is 10000; it must be 0 to 9999'),
        ([], 'the following arguments are required: --out'),
    ],
)
def test_the_trainer_refuses_what_it_cannot_do(given, words, capsys):
    with pytest.raises(SystemExit):
        trainer.parse_plan([*given, *(['--out', 'x'] if given else [])])
    assert words in capsys.readouterr().err


def test_steps_alone_are_not_cut_by_a_clock():
    assert trainer.parse_plan(['--out', 'x', '--device', 'cpu']).minutes == 20
    steps = trainer.parse_plan(['--out', 'x', '--device', 'cpu', '--steps', '5'])
    assert steps.minutes == math.inf and steps.steps == 5


def test_runs_with_other_seeds_see_other_scenes():
    starts = sorted(first_seed(run) for run in range(40))
    assert starts[0] == 0 and np.diff([*starts, HELD_OUT]).min() > 90_000


def test_an_evaluation_that_could_not_be_kept_does_not_begin(tmp_path):
    command = [sys.executable, '-m', 'tools.train.evaluate', '--card', str(tmp_path / 'no.md')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and 'no.md' in done.stderr and 'Traceback' not in done.stderr


def picture_in(folder, depth_scale=1000):
    """A real picture as the evaluation reads it."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    cv2.imwrite(str(folder / 'rgb.png'), noise.integers(0, 256, (48, 64, 3), np.uint8))
    cv2.imwrite(str(folder / 'depth.png'), np.full((48, 64), 2000, np.uint16))
    said = {'fx': 60, 'fy': 60, 'cx': 31.5, 'cy': 23.5, 'depth_scale': depth_scale}
    (folder / 'intrinsics.json').write_text(json.dumps(said))


def test_an_evaluation_takes_other_scenes_and_pictures(tmp_path, monkeypatch):
    picture_in(tmp_path / 'mine' / 'office')
    out = tmp_path / 'figures.json'
    words = ['--scenes', '2', '--first-seed', '20000007', '--images', str(tmp_path / 'mine')]
    monkeypatch.setattr(sys, 'argv', ['evaluate', *words, '--out', str(out)])
    assert evaluate.main() == 0
    found = json.loads(out.read_text())
    assert (found['scenes'], found['first_seed']) == (2, 20_000_007)
    assert set(found['real']['nano']) == {'office', 'mean'}


def test_an_evaluation_that_cannot_read_a_picture_names_it_and_leaves_no_file(
    tmp_path, monkeypatch, caplog
):
    picture_in(tmp_path / 'mine' / 'office')
    (tmp_path / 'mine' / 'office' / 'depth.png').unlink()
    out = tmp_path / 'figures.json'
    words = ['--scenes', '2', '--images', str(tmp_path / 'mine'), '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', ['evaluate', *words])
    assert evaluate.main() == 2
    assert 'office needs rgb.*, depth.png' in caplog.text and not out.exists()


def test_scenes_it_was_trained_on_are_no_test(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['evaluate', '--first-seed', '5'])
    with pytest.raises(SystemExit):
        evaluate.main()
    assert '--first-seed is 5; below 10000000' in capsys.readouterr().err


def test_a_rate_that_is_too_high_is_named(tmp_path):
    with pytest.raises(DepthRosError, match='use a lower --rate'):
        train(Plan(tmp_path, steps=40, minutes=math.inf, rate=1e9, batch=2, validation=8))
