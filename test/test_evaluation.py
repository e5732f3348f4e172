# SPDX-License-Identifier: Apache-2.0
"""`depth-ros eval` and `calibrate`: metrics, sources of truth, and what is written."""

import csv
import json
import shutil
import sys
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import yaml

from depth_ros.cli import main
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ScaleError
from depth_ros.core.geometry import undistort_depth
from depth_ros.core.types import Kind
from depth_ros.offline.evaluation import baselines, calibration
from depth_ros.offline.evaluation.calibration import Sample, calibrate
from depth_ros.offline.evaluation.layouts import TUM_CAMERAS
from depth_ros.offline.evaluation.scores import score
from depth_ros.offline.evaluation.sequences import View, drift, temporal_alignment_error
from depth_ros.offline.evaluation.truth import find
from depth_ros.offline.recorded import Selection
from depth_ros.pipeline.build import load

CAMERA = Camera(64, 48, 50.0, 52.0, 31.5, 23.5)
RANGE = ['--near', '0.1', '--far', '20']


# the metrics once more, one by one from their papers, without our module


def by_the_papers(z, truth, near, far):
    """Eigen et al. 2014, section 4.2; the KITTI development kit for SILog."""
    d, t = [], []
    for a, b in zip(z.ravel().tolist(), truth.ravel().tolist(), strict=True):
        if not (np.isfinite(b) and near <= b <= far) or np.isnan(a):
            continue
        if a == np.inf:
            a = far
        if a == -np.inf:
            a = near
        d.append(min(max(a, 1e-3), far))
        t.append(b)
    return figures(np.array(d), np.array(t)), np.array(d), np.array(t)


def figures(d, t):
    n = len(d)
    log = [np.log(a) - np.log(b) for a, b in zip(d, t, strict=True)]
    threshold = np.maximum(d / t, t / d)
    return {
        'abs_rel': sum(abs(d - t) / t) / n,
        'sq_rel': sum((d - t) ** 2 / t) / n,
        'rmse': (sum((d - t) ** 2) / n) ** 0.5,
        'log_rmse': (sum(e**2 for e in log) / n) ** 0.5,
        'silog': 100 * (sum(e**2 for e in log) / n - (sum(log) / n) ** 2) ** 0.5,
        'delta1': sum(threshold < 1.25) / n,
        'delta2': sum(threshold < 1.25**2) / n,
        'delta3': sum(threshold < 1.25**3) / n,
    }


def assert_same(errors, expected):
    for name, value in expected.items():
        assert getattr(errors, name) == pytest.approx(value, rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize('seed', range(3))
def test_metrics_are_those_of_the_papers(seed):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.05, 14, (30, 40)).astype(np.float32)
    z = (truth * rng.lognormal(0.1, 0.4, truth.shape)).astype(np.float32)
    for values, what in ((z, (np.nan, np.inf, -np.inf)), (truth, (np.nan, 0.0, -1.0, np.inf))):
        for one in what:
            values[rng.random(values.shape) < 0.05] = one
    found = score(z, truth, 0.3, 10.0)
    expected, d, t = by_the_papers(z, truth, 0.3, 10.0)
    assert_same(found.errors['metres'], expected)
    assert found.pixels == len(d)
    assert_same(found.errors['median'], figures(d * np.median(t) / np.median(d), t))
    scale, shift = np.polyfit(1 / d, 1 / t, 1)
    fitted = 1 / np.clip(scale / d + shift, 1 / 10.0, 1e3)
    assert_same(found.errors['affine'], figures(fitted, t))
    assert found.ratio == pytest.approx(np.median(t / d))
    # shares: of the pixels with a truth in range
    wanted = np.isfinite(truth) & (truth >= 0.3) & (truth <= 10)
    assert found.missing == pytest.approx(np.isnan(z[wanted]).mean())
    assert found.sky == pytest.approx(np.isposinf(z[wanted]).mean())
    assert found.too_near == pytest.approx(np.isneginf(z[wanted]).mean())
    measured = np.isfinite(truth) & (truth > 0)
    assert found.beyond == pytest.approx(1 - wanted.sum() / measured.sum())
    for start, end, count, errors in found.bands:
        inside = (t >= start) & (t < end)
        assert count == inside.sum()
        assert errors['metres'][0] == pytest.approx(figures(d[inside], t[inside])['abs_rel'])


def test_sky_where_there_is_truth_does_not_help():
    truth = np.full((20, 20), 2.0, np.float32)
    wrong = np.full((20, 20), 3.0, np.float32)
    sky = np.where(np.arange(20) < 10, np.inf, wrong).astype(np.float32)
    assert score(sky, truth, 0.1, 80).errors['metres'].abs_rel > 10
    assert score(sky, truth, 0.1, 80).sky == 0.5


def test_too_few_pixels_have_no_metrics():
    truth = np.full((20, 20), np.nan, np.float32)
    truth[0, :] = 2.0
    assert score(np.full((20, 20), 2.0, np.float32), truth, 0.1, 80) is None


def test_the_affine_alignment_takes_the_values_of_the_network():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 9, (20, 20))
    values = 3 / truth - 0.5  # some are negative, where depth itself could not tell
    found = score(np.where(values > 0, 1, np.inf), truth, 0.1, 80, values)
    assert found.errors['affine'].abs_rel == pytest.approx(0, abs=1e-9)


def test_drift_of_a_scale_that_changes_steadily():
    t = np.arange(20) * 0.5
    found = drift(list(2.0 * np.exp(0.03 * t)), list(t))
    assert found.slope == pytest.approx(0.03) and found.jitter == pytest.approx(0.015)
    assert found.spread == pytest.approx(np.std(0.03 * t))
    assert found.median == pytest.approx(2.0 * np.exp(0.03 * np.median(t)))
    assert np.isnan(drift([1.0, 2.0], [0.0, 0.0]).slope)


def wall_views(depths, drift_of_scale=0.0):
    """A camera that moves towards a wall; the depth is exact up to a factor."""
    views = []
    for k, z in enumerate(depths):
        T = np.eye(4)
        T[2, 3] = depths[0] - z
        factor = np.exp(drift_of_scale * k)
        views.append(View.of(np.full((48, 64), z * factor, np.float32), CAMERA, T))
    return views


def test_depth_that_agrees_over_time_has_no_alignment_error():
    assert temporal_alignment_error(wall_views([5.0, 4.8, 4.5, 4.1])) < 1e-6


def test_the_alignment_error_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    views = []
    for k in range(3):
        T = np.eye(4)
        T[:3, 3] = 0.02 * k, 0.0, 0.1 * k
        z = (3 + 0.5 * rng.random((48, 64))).astype(np.float32)
        views.append(View.of(z, CAMERA, T))

    def one_way(a, b):  # pixel by pixel
        errors, nearest = [], {}
        T = np.linalg.inv(b.T_world_camera) @ a.T_world_camera
        for v in range(48):
            for u in range(64):
                z = float(a.z[v, u])
                ray = [(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, 1]
                p = T[:3, :3] @ (np.array(ray) * z) + T[:3, 3]
                x = round(CAMERA.fx * p[0] / p[2] + CAMERA.cx)
                y = round(CAMERA.fy * p[1] / p[2] + CAMERA.cy)
                if 0 <= x < 64 and 0 <= y < 48:
                    nearest.setdefault((y, x), []).append(p[2])
        for at, found in nearest.items():
            there = float(b.z[at])
            errors += [abs(z - there) / there for z in found if z <= 1.1 * min(found)]
        return np.mean(errors)

    pairs = [
        (views[0], views[1]),
        (views[1], views[0]),
        (views[1], views[2]),
        (views[2], views[1]),
    ]
    expected = np.mean([one_way(*pair) for pair in pairs])
    assert temporal_alignment_error(views) == pytest.approx(expected, rel=1e-3)


def test_a_scale_that_flickers_is_an_alignment_error():
    found = temporal_alignment_error(wall_views([5.0, 5.0, 5.0], drift_of_scale=0.1))
    assert found == pytest.approx((np.expm1(0.1) + 1 - np.exp(-0.1)) / 2, rel=1e-3)


@pytest.mark.slow
def test_the_baselines_are_medians_of_rendered_scenes():
    real = pytest.importorskip('tools.train.real')
    everywhere, rows = real.fitted_prior()
    assert everywhere == pytest.approx(baselines.EVERYWHERE, rel=0.01)
    assert np.allclose(rows, baselines.ROWS, rtol=0.02)
    assert baselines.per_row((96, 5)).shape == (96, 5)


# folders


def ground(height=48, k=CAMERA):
    """Depth of a level floor 1.2 m below the camera, as flat_ground predicts; 0 above."""
    slope = (np.arange(height) - k.cy) / k.fy
    with np.errstate(divide='ignore'):
        rows = np.where(slope > 0, 1.2 / slope, 0)
    return np.repeat(np.where(rows < 20, rows, 0)[:, None], k.width, 1)


def image(path, seed=0, size=(48, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def depth(path, z, per_metre):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.rint(z * per_metre).astype(np.uint16))


def scene(folder, factor=1.0, **more):
    """The layout rgb.png, depth.png, intrinsics.json, with `factor` times the exact depth."""
    image(folder / 'rgb.png')
    depth(folder / 'depth.png', factor * ground(), 1000)
    known = {'fx': 50, 'fy': 52, 'cx': 31.5, 'cy': 23.5, 'depth_scale': 1000}
    (folder / 'intrinsics.json').write_text(json.dumps({**known, **more}))
    return folder


def kitti_selection(root):
    for k in range(2):
        name = f'2011_09_26_drive_0002_sync_{{}}_{k:010d}_image_02'
        image(root / 'image' / f'{name.format("image")}.png')
        depth(
            root / 'groundtruth_depth' / f'{name.format("groundtruth_depth")}.png', ground(), 256
        )
        (root / 'intrinsics').mkdir(exist_ok=True)
        text = '50 0 31.5 0 52 23.5 0 0 1'
        (root / 'intrinsics' / f'{name.format("image")}.txt').write_text(text)


def kitti_raw(root):
    drive = '2011_09_26_drive_0001_sync'
    raw = root / 'raw' / '2011_09_26'
    for k in (5, 6, 7):
        image(raw / drive / 'image_02' / 'data' / f'{k:010d}.png')
    for k in (5, 7):
        truth = root / 'annotated' / 'train' / drive / 'proj_depth' / 'groundtruth' / 'image_02'
        depth(truth / f'{k:010d}.png', ground(), 256)
    (raw / 'calib_cam_to_cam.txt').write_text(
        'calib_time: 09-Jan-2012 13:57:47\nS_rect_02: 6.4e+01 4.8e+01\n'
        'P_rect_02: 50 0 31.5 4.5e+01 0 52 23.5 -3.4e-01 0 0 1 5e-3\n'
    )


def nyu(root):
    for k in (45, 46):
        image(root / 'bathroom' / f'rgb_{k:05d}.jpg', size=(480, 640))
        depth(root / 'bathroom' / f'sync_depth_{k:05d}.png', np.full((480, 640), 2.5), 1000)


def tum(root):
    folder = root / 'rgbd_dataset_freiburg3_test'
    lists = {'rgb': [], 'depth': [], 'groundtruth': ['# a comment']}
    for k in range(4):
        stamp = 1305031102.175304 + k / 30
        image(folder / 'rgb' / f'{stamp:.6f}.png', size=(480, 640))
        lists['rgb'].append(f'{stamp:.6f} rgb/{stamp:.6f}.png')
        late = stamp + (0.005 if k != 2 else 0.025)  # one has no depth at its time
        depth(folder / 'depth' / f'{late:.6f}.png', np.full((480, 640), 1.5), 5000)
        lists['depth'].append(f'{late:.6f} depth/{late:.6f}.png')
        lists['groundtruth'].append(f'{stamp + 0.001:.4f} {k} 0 0 0 0 0 1')
    for name, lines in lists.items():
        (folder / f'{name}.txt').write_text('\n'.join(lines) + '\n')


def loaded(source, selection=None):
    """Image, camera, depth and the rest of each image of an input."""
    result = []
    for one in source.images(selection or Selection()):
        height, width = one.recorded.read().rgb.shape[:2]
        camera = one.recorded.calibration(width, height).camera
        result.append((one, camera, one.truth(camera)))
    return result


@pytest.mark.parametrize(
    ('write', 'layout', 'count'),
    [(kitti_selection, 'KITTI selection', 2), (kitti_raw, 'KITTI raw', 2), (nyu, 'NYU', 2),
     (tum, 'TUM RGB-D', 3), (lambda p: scene(p / 'a'), 'rgb, depth, intrinsics', 1)],
)  # fmt: skip
def test_layouts_of_folders(tmp_path, write, layout, count):
    write(tmp_path)
    (source,), skipped = find([str(tmp_path)])
    assert source.layout == layout and not skipped
    images = loaded(source)
    assert len(images) == count
    for _, camera, z in images:
        if layout == 'NYU':
            assert camera.fx == 518.8579 and np.allclose(z, 2.5)
        elif layout == 'TUM RGB-D':
            assert camera.fx == TUM_CAMERAS['freiburg3'][0] and np.allclose(z, 1.5)
        else:
            expected = np.where(ground() > 0, ground(), np.nan)
            assert camera == CAMERA
            assert np.allclose(z, expected, atol=0.5 / 256, equal_nan=True)


def test_hidden_folders_and_links_to_folders_above_are_left_out(tmp_path):
    scene(tmp_path / 'in' / 'a')
    scene(tmp_path / 'in' / '.cache')
    (tmp_path / 'in' / 'b').mkdir()
    (tmp_path / 'in' / 'b' / 'up').symlink_to(tmp_path / 'in')
    sources, skipped = find([str(tmp_path / 'in')])
    assert [one.name for one in sources] == ['in/a'] and not skipped


def test_tum_associates_by_stamps_and_has_poses(tmp_path):
    tum(tmp_path)
    (source,), _ = find([str(tmp_path)])
    images = [one for one, _, _ in loaded(source)]
    assert [one.T_world_camera[0, 3] for one in images] == [0, 1, 3]
    assert [one.time_s for one in images] == pytest.approx([0, 1 / 30, 0.1], abs=1e-6)


def test_both_cameras_of_kitti_have_images_of_their_own_names(tmp_path):
    kitti_raw(tmp_path)
    for folder in (*tmp_path.rglob('image_02'),):
        shutil.copytree(folder, folder.with_name('image_03'))
    file = tmp_path / 'raw' / '2011_09_26' / 'calib_cam_to_cam.txt'
    file.write_text(
        file.read_text() + file.read_text().replace('_02', '_03').replace('50 0', '49 0')
    )
    (source,), _ = find([str(tmp_path)])
    images = loaded(source)
    names = {one.recorded.name.split('/', 4)[-1]: camera.fx for one, camera, _ in images}
    assert names == {
        f'image_0{n}/000000000{k}': fx for n, fx in ((2, 50), (3, 49)) for k in (5, 7)
    }
    assert not source.is_sequence


def test_inputs_with_dots_in_their_names_are_different(tmp_path):
    for name in ('run.1', 'run.2'):
        scene(tmp_path / 'in' / name)
    sources, _ = find([str(tmp_path / 'in')])
    assert [one.name for one in sources] == ['in/run.1', 'in/run.2']


def test_kitti_raw_is_a_sequence_of_ten_images_a_second(tmp_path):
    kitti_raw(tmp_path)
    (source,), _ = find([str(tmp_path)])
    assert source.is_sequence
    assert [one.time_s for one, _, _ in loaded(source)] == pytest.approx([0, 0.2])


def test_tum_without_a_known_camera_needs_one(tmp_path, capsys):
    tum(tmp_path)
    (tmp_path / 'rgbd_dataset_freiburg3_test').rename(tmp_path / 'mine')
    words = ['eval', str(tmp_path / 'mine'), '--model', 'flat_wall', '--out', str(tmp_path / 'o')]
    assert main(words) == 2
    assert '--hfov' in capsys.readouterr().err
    assert main([*words, '--fx', '535']) == 0


def test_numbered_images_and_poses_of_a_scene(tmp_path):
    folder = scene(tmp_path / 'a')
    for k in range(2):
        image(folder / f'rgb_{k}.jpg', seed=k)
        depth(folder / f'depth_{k}.png', ground() * (1 + k), 1000)  # the first is depth.png again
    rows = [f'{k} {k} {k + 1}\n1 0 0 {k}\n0 1 0 0\n0 0 1 0\n0 0 0 1' for k in range(2)]
    (folder / 'trajectory.log').write_text('\n'.join(rows) + '\n')
    (source,), _ = find([str(tmp_path)])
    images = [one for one, _, _ in loaded(source)]
    assert [one.recorded.name.rpartition('/')[2] for one in images] == ['rgb_0', 'rgb_1']
    assert [one.T_world_camera[0, 3] for one in images] == [0, 1]


def test_truth_of_another_size_is_taken_from_the_nearest_pixel(tmp_path):
    folder = scene(tmp_path / 'a', width=64, height=48)
    z = np.zeros((96, 128))
    z[::2, ::2], z[1::2, ::2], z[::2, 1::2], z[1::2, 1::2] = 1, 2, 3, 4
    depth(folder / 'depth.png', z, 1000)
    (source,), _ = find([str(tmp_path)])
    ((_, _, found),) = loaded(source)
    assert found.shape == (48, 64) and set(np.unique(found)) <= {1, 2, 3, 4}  # never a mean
    depth(folder / 'depth.png', np.ones((48, 48)), 1000)
    with pytest.raises(Exception, match='48x48 and its image 64x48, another shape'):
        loaded(source)


def test_depth_of_a_distorted_image_moves_with_its_pixels():
    camera = Camera(64, 48, 50, 52, 31.5, 23.5, 'plumb_bob', (-0.2, 0.05, 0.0, 0.0))
    rows, columns = np.mgrid[:48, :64].astype(np.float32)
    found = undistort_depth(100 * rows + columns + 1, camera)
    k = np.array([[50, 0, 31.5], [0, 52, 23.5], [0, 0, 1]])
    d = np.array(camera.distortion)
    at = np.argwhere(np.isfinite(found))
    rays = np.stack([(at[:, 1] - 31.5) / 50, (at[:, 0] - 23.5) / 52, np.ones(len(at))], 1)
    pixels = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), k, d)[0][:, 0]
    source_rows, source_columns = np.divmod(found[tuple(at.T)] - 1, 100)
    assert len(at) > 2000
    assert np.abs(source_columns - pixels[:, 0]).max() < 0.51
    assert np.abs(source_rows - pixels[:, 1]).max() < 0.51


def test_truth_of_a_distorted_scene_is_that_of_the_undistorted_image(tmp_path):
    lens = [-0.2, 0.05, 0.0, 0.0]
    folder = scene(tmp_path / 'a', distortion=lens)
    z = slope()
    depth(folder / 'depth.png', z, 1000)
    (source,), _ = find([str(tmp_path)])
    ((_, camera, found),) = loaded(source)
    assert camera.distortion == tuple(lens)
    stored = (np.rint(1000 * z) / 1000).astype(np.float32)
    assert np.allclose(found, undistort_depth(stored, camera), equal_nan=True, atol=1e-5)
    assert np.abs(np.nan_to_num(found) - stored).max() > 0.1  # pixels have moved


# the command


def run_eval(tmp_path, *words):
    out = tmp_path / 'out'
    assert main(['eval', *words, '--out', str(out)]) == 0
    text = (out / 'evaluation.json').read_text()
    found = json.loads(text, parse_constant=pytest.fail)  # NaN is no JSON
    rows = list(csv.DictReader((out / 'frames.csv').open()))
    return found, rows, (out / 'report.html').read_text()


def model(found, name):
    return next(m for m in found['models'] if m['model'] == name)


def test_exact_depth_is_right_and_a_factor_is_found(tmp_path, capsys):
    scene(tmp_path / 'in' / 'right')
    scene(tmp_path / 'in' / 'twice', factor=2.0)
    found, rows, _ = run_eval(tmp_path, str(tmp_path / 'in'), '--model', 'flat_ground', *RANGE)
    ours = model(found, 'flat_ground')
    assert ours['inputs']['in/right']['errors']['metres']['abs_rel'] < 1e-3
    twice = ours['inputs']['in/twice']['errors']
    assert twice['metres']['abs_rel'] == pytest.approx(0.5, abs=1e-3)
    assert twice['metres']['delta3'] == 0  # 1.25^3 is 1.95
    assert twice['median']['abs_rel'] < 1e-3 and twice['affine']['abs_rel'] < 1e-3
    assert ours['errors']['metres']['abs_rel'] == pytest.approx(0.25, abs=1e-3)  # mean of frames
    assert {row['model'] for row in rows} == {'flat_ground', 'constant', 'depth per row'}
    for name in ('in/right', 'in/twice'):  # the same of each input, from the rows
        (row,) = (r for r in rows if r['input'] == name and r['model'] == 'flat_ground')
        for metric, value in ours['inputs'][name]['errors']['metres'].items():
            assert float(row[f'metres_{metric}']) == pytest.approx(value)
    said = capsys.readouterr().out
    assert '2 inputs; truth from 0.1 to 20 m' in said and '0.250' in said


def test_what_cannot_be_used_is_named_and_the_rest_goes_on(tmp_path, capsys):
    root = tmp_path / 'in'
    scene(root / 'good')
    (scene(root / 'no_intrinsics') / 'intrinsics.json').write_text('{"fx": 3')
    (scene(root / 'no_depth') / 'depth.png').unlink()
    (scene(root / 'no_image') / 'rgb.png').unlink()
    (scene(root / 'cut') / 'rgb.png').write_bytes(b'\x89PNG\r\n\x1a\n damaged')
    depth(scene(root / 'other_shape') / 'depth.png', np.ones((48, 48)), 1000)
    depth(scene(root / 'empty') / 'depth.png', np.zeros((48, 64)), 1000)
    cv2.imwrite(str(scene(root / 'grey8') / 'depth.png'), np.ones((48, 64), np.uint8))
    (root / 'broken.mcap').write_bytes(b'no bag')
    (root / 'notes.txt').write_text('rubbish')
    (root / 'empty_folder').mkdir()
    two = ['--model', 'flat_ground', '--model', 'flat_wall']  # each reason once
    found, _, page = run_eval(tmp_path, str(root), *two)
    said = capsys.readouterr().err
    assert [one['name'] for one in found['inputs']] == ['in/good']
    lines = [line for line in said.splitlines() if line.startswith('skipped: ')]
    for name in ('no_intrinsics', 'no_depth', 'no_image', 'cut', 'other_shape', 'empty', 'grey8',
                 'broken.mcap'):  # fmt: skip
        assert sum(f'/{name}' in line for line in lines) == 1, name
        assert any(f'/{name}' in line for line in found['skipped']), name
    assert len(lines) == 8
    assert 'no_intrinsics' in page


@pytest.mark.parametrize('what', ['empty', 'pictures', 'picture', 'nothing'])
def test_nothing_with_measured_depth_is_an_error(tmp_path, capsys, what):
    folder = tmp_path / 'in'
    folder.mkdir()
    if what.startswith('picture'):
        image(folder / 'a.png')
    word = {'picture': folder / 'a.png', 'nothing': folder / 'none'}.get(what, folder)
    out = tmp_path / 'o'
    assert main(['eval', str(word), '--model', 'flat_wall', '--out', str(out)]) == 2
    said = capsys.readouterr().err
    assert ('does not exist' if what == 'nothing' else 'measured depth') in said
    assert not out.exists()


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (['-p', 'points.stride:=2'], 'points.stride has no effect on depth'),
        (['-p', 'colorized.max:=5.0'], 'colorized.max has no effect on depth'),
        (['-p', 'rate:=5.0'], 'only depth_node uses it'),
        (['-p', 'min_confidence:=0.5'], 'has no confidence'),
        (['-p', 'scaling.method:=anchors'], 'cannot be compared here'),
        (['-p', 'rnage.max:=5.0'], 'range.max'),
        (['--model', 'flat_wall'], 'names flat_wall twice'),
        (['--near', '5', '--far', '4'], '--far must be greater'),
        (['--topic', 'x', '-p', 'range.max'], 'name:=value'),
    ],
)
def test_parameters_are_honoured_or_refused(tmp_path, capsys, words, reason):
    scene(tmp_path / 'a')
    command = ['eval', str(tmp_path), '--model', 'flat_wall', '--out', str(tmp_path / 'o'), *words]
    assert main(command) == 2
    assert reason in capsys.readouterr().err


def test_truth_beyond_the_range_is_not_compared(tmp_path):
    scene(tmp_path / 'a')
    words = [str(tmp_path / 'a'), '--model', 'flat_ground']
    found, rows, _ = run_eval(tmp_path, *words, '-p', 'range.max:=4.0')
    z = ground()
    assert found['compared']['far_m'] == 4
    assert int(rows[0]['pixels']) == np.count_nonzero((z > 0.1) & (z <= 4))
    beyond = 1 - np.count_nonzero((z > 0.1) & (z <= 4)) / np.count_nonzero(z)
    assert float(rows[0]['beyond']) == pytest.approx(beyond)


def test_the_depth_is_that_of_run(tmp_path):
    folder = scene(tmp_path / 'a')
    out = ['--output', str(tmp_path / 'x'), '--write', 'npy']
    given = ['--fx', '50', '--fy', '52', '--cx', '31.5', '--cy', '23.5']
    assert main(['run', str(folder / 'rgb.png'), '--model', 'nano', *given, *out]) == 0
    z = np.load(tmp_path / 'x_depth.npy')
    _, rows, _ = run_eval(tmp_path, str(folder), '--model', 'nano', *RANGE)
    truth = cv2.imread(str(folder / 'depth.png'), cv2.IMREAD_UNCHANGED) / 1000
    expected, _, _ = by_the_papers(z, np.where(truth > 0, truth, np.nan), 0.1, 20.0)
    for name, value in expected.items():
        assert float(rows[0][f'metres_{name}']) == pytest.approx(value, rel=1e-4), name


class Page(HTMLParser):
    """What a page has: tags that are open, text, and what it would load."""

    VOID = ('meta', 'img', 'br', 'link', 'input')

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.loads, self.images, self.ids = [], [], [], 0, set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.images += tag == 'img'
        self.ids.add(values.get('id'))
        for name in ('src', 'href'):
            if values.get(name) and not values[name].startswith('data:'):
                self.loads.append(values[name])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ('script', 'style'):
            self.text.append(data)


def test_the_page_is_one_file_with_plots_frames_and_cloud(tmp_path):
    pytest.importorskip('plotly', reason='plotly is not installed: pip install .[report]')
    for k in range(2):
        scene(tmp_path / 'in' / f's{k}', factor=1 + k)
    words = ['--model', 'nano', '--model', 'flat_ground', '-p', 'range.max:=30.0']
    _, _, text = run_eval(tmp_path, str(tmp_path / 'in'), *words)
    page = Page(text)
    assert not page.open and not page.loads
    assert {'plot0', 'plot1', 'cloud'} <= page.ids and text.count('Plotly.newPlot') >= 3
    assert page.images == 2 * (2 + 2 * 2)  # image, truth; depth and error of two networks
    words = ' '.join(page.text)
    for word in ('nano', 'flat_ground', 'depth per row', 'in/s1', 'What the figures mean'):
        assert word in words


def test_without_plotly_the_page_says_so(tmp_path, capsys, monkeypatch):
    scene(tmp_path / 'a')
    monkeypatch.setitem(sys.modules, 'plotly', None)
    monkeypatch.setitem(sys.modules, 'plotly.graph_objects', None)
    _, _, text = run_eval(tmp_path, str(tmp_path / 'a'), '--model', 'flat_ground')
    page = Page(text)
    assert 'pip install plotly' in ' '.join(page.text) and not page.loads and page.images == 4
    assert 'has no plots: pip install plotly' in capsys.readouterr().err


# networks without metres


@pytest.fixture(scope='module')
def brightness(tmp_path_factory):
    """An ONNX network whose output is the brightness of the image, 0 to 1."""
    onnx = pytest.importorskip('onnx', reason='the package onnx, which writes it, is missing')
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    make, floats = onnx.helper, onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(np.full((1, 3, 1, 1), 1 / 3, np.float32), 'w')
    graph = make.make_graph(
        [make.make_node('Conv', ['image', 'w'], ['depth'])],
        'brightness',
        [make.make_tensor_value_info('image', floats, [1, 3, 48, 64])],
        [make.make_tensor_value_info('depth', floats, [1, 1, 48, 64])],
        [weights],
    )
    path = tmp_path_factory.mktemp('onnx') / 'brightness.onnx'
    onnx.save(
        make.make_model(graph, opset_imports=[make.make_opsetid('', 13)], ir_version=8), path
    )
    return path


def grey_scene(folder, z, values):
    """A scene whose image has `values` (H, W), 0 to 1, as its brightness."""
    scene(folder)
    grey = np.rint(255 * values).astype(np.uint8)
    cv2.imwrite(str(folder / 'rgb.png'), np.repeat(grey[..., None], 3, 2))
    depth(folder / 'depth.png', z, 1000)
    return folder


def of_kind(path, kind):
    mean, std = 'onnx.mean:=[0.0, 0.0, 0.0]', 'onnx.std:=[1.0, 1.0, 1.0]'
    given = ['-p', f'onnx.kind:={kind}', '-p', mean, '-p', std]
    return ['--model', 'onnx', '--weights', str(path), *given]


def slope(seed=0):
    """Depth (H, W) of 1 to 5 m."""
    rows, columns = np.mgrid[:48, :64]
    return 1 + 3 * rows / 47 + columns / 63 + 0 * seed


def test_a_network_without_metres_is_compared_after_alignment(tmp_path, brightness):
    folder = grey_scene(tmp_path / 'a', slope(), 0.8 / slope() - 0.1)
    words = of_kind(brightness, 'affine_inverse')
    i = words.index('--weights')
    words = ['--model', f'onnx={brightness}', *words[i + 2 :]]
    found, rows, _ = run_eval(tmp_path, str(folder), *words)
    ours = model(found, 'onnx')
    assert set(ours['errors']) == {'affine'} and ours['errors']['affine']['abs_rel'] < 0.02
    row = next(r for r in rows if r['model'] == 'onnx')
    assert row['metres_abs_rel'] == '' and row['ratio'] == ''
    words[words.index('onnx.kind:=affine_inverse')] = 'onnx.kind:=scale_invariant'
    grey_scene(folder, slope(), slope() / 6)
    found, _, _ = run_eval(tmp_path, str(folder), *words)
    ours = model(found, 'onnx')
    assert set(ours['errors']) == {'median', 'affine'}
    assert ours['errors']['median']['abs_rel'] < 0.02


# calibrate


def printed(capsys, words, code=0):
    assert main(['calibrate', *words]) == code
    said = capsys.readouterr()
    return said.out, said.err


def as_rules(text):
    """The printed params file as `-p` of the command line."""
    parameters = yaml.safe_load(text)['/**']['ros__parameters']
    rules = []
    for name, value in parameters['scaling'].items():
        rules += ['-p', f'scaling.{name}:={value}']
    return rules


def test_a_measured_scale_makes_the_median_ratio_one(tmp_path, capsys):
    for k, factor in enumerate((1.4, 1.5, 1.55)):
        scene(tmp_path / 'in' / f's{k}', factor)
    words = [str(tmp_path / 'in'), '--model', 'flat_ground', *RANGE]
    text, said = printed(capsys, words)
    assert '3 frames' in said and 'warning' not in said
    _, rows, _ = run_eval(tmp_path, *words, *as_rules(text))
    ratios = [float(r['ratio']) for r in rows if r['model'] == 'flat_ground']
    assert np.median(ratios) == pytest.approx(1, abs=1e-4)


def test_a_measured_scale_of_a_real_network_too(tmp_path, capsys):
    for k in range(3):
        scene(tmp_path / 'in' / f's{k}')
        image(tmp_path / 'in' / f's{k}' / 'rgb.png', seed=k)
    words = [str(tmp_path / 'in'), '--model', 'nano', '-p', 'filters.edges:=0.0', *RANGE]
    text, _ = printed(capsys, words)
    _, rows, _ = run_eval(tmp_path, *words, *as_rules(text))
    ratios = [float(r['ratio']) for r in rows if r['model'] == 'nano']
    assert np.median(ratios) == pytest.approx(1, abs=1e-3)
    # as a params file, too: by the parameters that a node would read
    flat = yaml.safe_load(text)['/**']['ros__parameters']
    pipeline, _ = load({'model': flat['model'], 'scaling.scale': flat['scaling']['scale']})
    assert pipeline.snapshot.settings.scaling.scale == flat['scaling']['scale']


def test_scale_and_shift_of_an_affine_inverse_network(tmp_path, capsys, brightness):
    for k in range(3):
        z = slope() * (1 + 0.1 * k)
        grey_scene(tmp_path / 'in' / f's{k}', z, 0.8 / z - 0.1)  # 1/z = 1.25 v + 0.125
    words = [str(tmp_path / 'in'), *of_kind(brightness, 'affine_inverse')]
    text, said = printed(capsys, words)
    found = yaml.safe_load(text)['/**']['ros__parameters']['scaling']
    assert found['method'] == 'constant'
    assert found['scale'] == pytest.approx(1.25, rel=0.03), said
    assert found['shift'] == pytest.approx(0.125, abs=0.01)
    rules = as_rules(text)
    i = words.index('--weights')
    command = [words[0], '--model', f'onnx={brightness}', *words[i + 2 :], *rules]
    compared, rows, _ = run_eval(tmp_path, *command)
    assert model(compared, 'onnx')['errors']['metres']['abs_rel'] < 0.03
    ratios = [float(r['ratio']) for r in rows if r['model'] == 'onnx']
    assert np.median(ratios) == pytest.approx(1, abs=2e-3)


def test_frames_that_disagree_and_few_frames_are_a_warning(tmp_path, capsys):
    for k, factor in enumerate((1.0, 1.5, 2.5)):
        scene(tmp_path / 'in' / f's{k}', factor)
    _, said = printed(capsys, [str(tmp_path / 'in'), '--model', 'flat_ground', *RANGE])
    assert 'the frames disagree' in said and 'anchors.sources' in said
    _, said = printed(capsys, [str(tmp_path / 'in' / 's0'), '--model', 'flat_ground', *RANGE])
    assert '1 frame only' in said and 'differ by' not in said


def test_one_distance_that_a_person_measured(tmp_path, capsys):
    path = tmp_path / 'photo.png'
    image(path)
    words = [str(path), '--model', 'flat_wall', '--hfov', '60', '--distance', '2.35']
    text, said = printed(capsys, words)
    assert 'scale: 1.175' in text and 'photo: 2 at 32,24' in said
    (text, said) = printed(
        capsys, [*words[:1], '--model', 'flat_ground', *words[3:], '--at', '10,40']
    )
    fy = 32 / np.tan(np.radians(30))
    expected = 2.35 / (1.2 / ((40 - 23.5) / fy))
    assert yaml.safe_load(text)['/**']['ros__parameters']['scaling']['scale'] == pytest.approx(
        expected, rel=0.01
    )


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (['--at', '3,4'], '--at is given without --distance'),
        (['--distance', '2', '--at', '99,4'], '--at is 99,4, outside of'),
        (['-p', 'scaling.scale:=2.0'], 'scaling.scale is what is measured'),
        (['--distance', '2', '--at', '3,0', '--model', 'flat_ground'], 'has no depth at 3,0'),
    ],
)
def test_what_calibrate_refuses(tmp_path, capsys, words, reason):
    path = scene(tmp_path / 'a')
    if '--distance' in words:
        path = path / 'rgb.png'
    command = [str(path), '--model', 'flat_wall', *words]
    if '--distance' in words:
        command += ['--fx', '50']
    assert reason in printed(capsys, command, 2)[1]


def test_one_distance_does_not_determine_a_shift(tmp_path, capsys, brightness):
    image(tmp_path / 'a.png')
    words = [str(tmp_path / 'a.png'), *of_kind(brightness, 'affine_inverse')]
    _, said = printed(capsys, [*words, '--hfov', '60', '--distance', '2'], 2)
    assert 'one distance does not give scale and shift' in said


def test_calibration_is_robust():
    rng = np.random.default_rng(0)
    samples = []
    for k in range(7):
        raw = rng.uniform(1, 5, 500)
        truth = 1.7 * raw * (1 if k else 3)  # one frame of a wrong sensor
        truth[:150] *= rng.uniform(0.2, 4, 150)
        samples.append(Sample(f'{k}', raw, truth))
    found = calibrate(samples, affine=False)
    assert found.scale == pytest.approx(1.7, rel=0.01)
    assert np.median(found.ratios) == pytest.approx(1)
    few = Sample('few', np.ones(5), np.ones(5))
    found = calibrate([*samples, few], affine=False)
    assert len(found.names) == 7 and '1 frame left out' in found.warnings()[0]
    with pytest.raises(ScaleError, match='no frame has 100 pixels'):
        calibrate([Sample('a', np.ones(5), np.ones(5))], affine=False)


def test_calibration_of_an_affine_inverse_network_is_right_in_the_median():
    rng = np.random.default_rng(0)
    samples = []
    for k in range(5):
        truth = rng.uniform(1, 6, 800)
        raw = (1 / (truth * np.exp(rng.exponential(0.1, 800))) - 0.05) / (0.7 + 0.02 * k)
        samples.append(Sample(f'{k}', raw, truth))
    found = calibrate(samples, affine=True)
    ratios = [np.median(s.truth * (found.scale * s.raw + found.shift)) for s in samples]
    assert np.median(ratios) == pytest.approx(1, abs=1e-6)
    assert found.ratios == pytest.approx(ratios)
    assert 0.5 < found.scale < 1 and found.shift > 0


def test_printed_numbers_are_doubles_of_yaml():
    for scale in (1.0, 12345678.9, 1.5e-5, 0.851):
        found = calibration.Calibration(scale, 0.0, ('a',), np.ones(1), 1)
        text = calibration.lines('nano', found, Kind.AFFINE_INVERSE)
        read = yaml.safe_load(text)['/**']['ros__parameters']['scaling']
        assert isinstance(read['scale'], float) and read['scale'] == pytest.approx(scale)
        assert isinstance(read['shift'], float)
