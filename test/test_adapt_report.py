# SPDX-License-Identifier: Apache-2.0
"""The page about adapted weights: what it concludes, and that it holds all of it in one file."""

import base64
import dataclasses
import html
import math
import re
import sys

import cv2
import numpy as np
import posed_recordings as made
import pytest
from bag_writer import Written

from depth_ros.checkpoints.adapted import (
    Card,
    Check,
    Coverage,
    Learnt,
    Recording,
    Score,
    Scores,
    Start,
)
from depth_ros.core.camera import Camera
from depth_ros.offline.adapt import report
from depth_ros.offline.adapt.pictures import Shown, Warp
from depth_ros.offline.adapt.recording import all_views, open_recordings
from depth_ros.offline.adapt.report import Curve
from depth_ros.offline.adapt.truths import find_truths, resampled
from depth_ros.offline.adapt.verdict import judge
from depth_ros.offline.cameras import GivenCamera
from depth_ros.offline.evaluation.drawing import UNKNOWN, WIDTH, difference_image
from depth_ros.offline.evaluation.truth import find

FOCAL = Check('focal length', '1.01 of the stated one', 'good', 1.01)
OWN = Scores('recording', Score(0.335, 0.449), Score(0.149, 0.775), 14)
KEPT = Scores('synthetic scenes', Score(0.232, 0.67), Score(0.238, 0.66), 100)
FORGOTTEN = Scores('another room', Score(0.21, 0.7), Score(0.259, 0.6), 5)
CARD = Card(
    preset='nano',
    start=Start('nano (packaged)', 'ab' * 32),
    licence='Apache-2.0',
    restricted=False,
    depth_ros='0.3.0',
    date='2026-11-27T21:40:12Z',
    recordings=(Recording('kit<chen', 26, 12.4, 3.21, 'TF', '640x480'),),
    learnt=Learnt(400, 61.5, 'cpu', 0.8, 0.31, 0.004),
    checks=(FOCAL,),
    photometric_before=0.221,
    photometric_after=0.151,
    scores=(OWN, KEPT),
    coverage=(Coverage('the last fifth', 0.92),),
)


def changed(**values):
    return dataclasses.replace(CARD, **values)


def test_better_and_nothing_forgotten_is_good():
    found = judge(CARD)
    assert (found.level, found.title) == ('good', 'Better in kit<chen')
    good = ' '.join(found.good)
    assert 'off by 15 % in the mean, before by 34 %; 78 % of the pixels' in good
    assert 'In synthetic scenes: as good as before (AbsRel 0.232 before, 0.238 after)' in good
    assert (
        '32 % less photometric error' in good
        and 'covers its place: 92 % of the last fifth.' in good
    )
    assert found.limits == (
        'Other cameras and places than those of the recording were not learnt.',
    )


@pytest.mark.parametrize(
    ('values', 'level', 'title', 'limit'),
    [
        (
            {'scores': (OWN, FORGOTTEN)},
            'warning',
            'Better in kit<chen, worse elsewhere',
            'In another room: worse than before (AbsRel 0.210 before, 0.259 after). Use nano '
            '(packaged) there, or adapt again with a smaller --mix.',
        ),
        (
            {'coverage': (Coverage('the last fifth', 0.33),)},
            'warning',
            'Better in kit<chen',
            'The recording covers only 33 % of the last fifth. Do not expect better depth of '
            'what it does not show: record more, and adapt again.',
        ),
        (
            {'checks': (Check('blur', '5 of 26 images', 'warning', remedy='drive slower'),)},
            'warning',
            'Better in kit<chen',
            'Blur: 5 of 26 images. Drive slower.',
        ),
        (
            {'scores': (dataclasses.replace(OWN, after=Score(0.4, 0.4)),)},
            'refused',
            'Do not use these weights: no better than before in kit<chen',
            'In the recording: worse than before (AbsRel 0.335 before, 0.400 after). Keep nano '
            '(packaged).',
        ),
        (
            {'scores': (dataclasses.replace(OWN, after=Score(0.34, 0.4)),)},
            'good',
            'About as good as before in kit<chen',
            'Other cameras',
        ),
        (
            {'scores': ()},
            'good',
            'Likely better in kit<chen',
            'The recording has no measured depth',
        ),
        (
            {'scores': (), 'photometric_after': 0.23},
            'refused',
            'Do not use these weights: no better than before in kit<chen',
            'The photometric error of views held out did not fall (0.221 before, 0.230 after).',
        ),
        (
            {'scores': (), 'photometric_before': math.nan, 'photometric_after': math.nan},
            'warning',
            'Not measured in kit<chen',
            'The recording has no measured depth',
        ),
        (
            {'licence': 'CC-BY-NC-4.0', 'restricted': True},
            'good',
            'Better in kit<chen',
            'The licence restricts use, as that of nano (packaged): CC-BY-NC-4.0.',
        ),
    ],
)
def test_what_is_not_good_is_a_limit(values, level, title, limit):
    found = judge(changed(**values))
    assert (found.level, found.title) == (level, title)
    assert any(text.startswith(limit) for text in found.limits), found.limits


def test_scores_of_several_recordings_are_their_own():
    both = [dataclasses.replace(OWN, name=name, learnt_from=True) for name in ('hall', 'lab')]
    recordings = tuple(Recording(name, 13) for name in ('hall', 'lab'))
    found = judge(changed(scores=tuple(both), recordings=recordings))
    assert (found.level, found.title) == ('good', 'Better in hall, lab')
    assert any(
        t.startswith('In lab: depth is off by 15 %') and 'whose views were learnt from' in t
        for t in found.good
    )
    worse = dataclasses.replace(both[1], after=Score(0.5, 0.3))
    found = judge(changed(scores=(both[0], worse), recordings=recordings))
    assert found.level == 'refused'
    assert any(
        t.startswith('In lab: worse than before') and 'Keep nano' in t for t in found.limits
    )


def test_a_network_without_metres_before_has_no_change():
    nothing = Score(math.nan, math.nan)
    own = dataclasses.replace(OWN, before=nothing)
    found = judge(changed(scores=(own, dataclasses.replace(KEPT, before=nothing))))
    assert (found.level, found.title) == ('good', 'Metres in kit<chen')
    text = ' '.join(found.good)
    assert 'off by 15 % in the mean, before it had no metres; 78 % of the pixels' in text
    assert 'nan' not in text + ' '.join(found.limits)


def test_a_fall_of_the_photometric_error_does_not_excuse_a_wrong_focal_length():
    wrong = Check('focal length', '10 % too long', 'refused', 0.9, remedy='calibrate')
    found = judge(changed(checks=(wrong,), scores=()))
    assert found.level == 'refused' and found.good == ()
    assert found.title == 'Do not use these weights: the checks refuse kit<chen (focal length)'
    assert 'Focal length: 10 % too long. Calibrate.' in found.limits
    assert any('fell all the same (0.221 before, 0.151 after)' in t for t in found.limits)


def test_the_command_starts_the_node_with_the_weights(tmp_path):
    path = tmp_path / 'my weights.safetensors'
    assert report.start_command(CARD, path) == (
        'ros2 launch depth_ros depth.launch.py image:=/camera/image_raw model:=nano '
        f"'weights:={path}'"
    )
    words = report.start_command(changed(scale=0.031, shift=-0.2), path)
    assert words.startswith('ros2 run depth_ros depth_node --ros-args -r image:=')
    assert words.endswith(
        '-p scaling.method:=constant -p scaling.scale:=0.031 -p scaling.shift:=-0.2'
    )


@pytest.fixture
def pictures():
    noise = np.random.default_rng(0)
    z = noise.uniform(1, 4, (48, 64)).astype(np.float32)
    z[:4] = np.inf
    truth = z.copy()
    truth[:, :8] = np.nan
    truth[:4] = np.nan
    rgb = noise.integers(0, 256, (48, 64, 3), np.uint8)
    error = noise.uniform(0, 0.4, (24, 32)).astype(np.float32)
    error[:, 20:] = np.nan
    warp = Warp('b', rgb[::-1], rgb[::2, ::2], rgb[1::2, ::2], error, error / 2)
    nothing = np.full((24, 32), np.nan, np.float32)
    unseen = Warp('c', rgb, rgb, rgb, nothing, nothing)
    return [Shown('a', rgb, 1.5 * z, 1.1 * z, truth, [warp, unseen], True), Shown('d', rgb, z, z)]


def images(text):
    """Caption -> RGB of every picture of a page."""
    found = {}
    for data, name in re.findall(r'src="data:image/\w+;base64,([^"]+)" alt="([^"]*)"', text):
        bgr = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        found.setdefault(html.unescape(name), bgr[..., ::-1])
    return found


def test_the_page_is_one_file_with_all_of_it(tmp_path, pictures):
    pytest.importorskip('plotly', reason='plotly is not installed: pip install .[report]')
    path = tmp_path / 'kitchen.html'
    curve = Curve([0, 10, 20], [0.3, 0.2, 0.15], [0.31, math.nan, 0.18], kept=10)
    restricted = changed(scores=(OWN, KEPT, FORGOTTEN))
    assert report.write(path, restricted, [curve], pictures, command='depth-ros adapt <bag>')
    text = path.read_text(encoding='utf-8')
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="(?!data:)', text)
    assert 'class="verdict warning"' in text and '<chen' not in text
    for words in (
        'kit&lt;chen', 'Better in kit&lt;chen, worse elsewhere', 'depth-ros adapt &lt;bag&gt;',
        f'weights:={tmp_path}/kitchen.safetensors', 'weights that were kept', 'held out',
        '<td>about the same</td>', '<td>worse</td>', '<td>better</td>', '✓ good',
        '0.31 degrees and 0.4 cm (rms)', '80 % adapted, the rest nano (packaged)',
        'a, held out, from b', 'ab' * 32,
    ):  # fmt: skip
        assert words in text, words
    drawn = images(text)
    assert {
        'image', 'depth before', 'depth after', 'measured', 'error before: AbsRel 0.500',
        'error after: AbsRel 0.100', 'the view', 'b as it is', 'moved by depth before',
        'moved by depth after',
    } <= set(drawn)  # fmt: skip
    assert all(image.shape[1] == WIDTH for image in drawn.values())
    # 50 % too far is red, 10 % nearly white, and without truth there is no colour
    before, after = drawn['error before: AbsRel 0.500'], drawn['error after: AbsRel 0.100']
    assert before[200, 300].tolist() == [196, 30, 58] and after[200, 300].min() > 200
    assert before[200, 20].tolist() == list(UNKNOWN)


def test_depth_of_a_view_has_the_same_colours_before_and_after(tmp_path, pictures):
    report.write(tmp_path / 'a.html', CARD, [], pictures[1:])
    drawn = images((tmp_path / 'a.html').read_text(encoding='utf-8'))
    assert np.array_equal(drawn['depth before'], drawn['depth after'])
    assert 'measured' not in drawn and not [name for name in drawn if name.startswith('error')]
    shown = dataclasses.replace(pictures[1], z_after=2 * pictures[1].z_after)
    report.write(tmp_path / 'b.html', CARD, [], [shown])
    drawn = images((tmp_path / 'b.html').read_text(encoding='utf-8'))
    rows, columns = slice(60, 350), slice(0, 470)
    red = [drawn[f'depth {when}'][rows, columns, 0].mean() for when in ('before', 'after')]
    assert red[0] > 1.2 * red[1], 'what is farther is less red'


def test_a_run_that_was_stopped_at_once_has_a_page(tmp_path, pictures):
    empty = changed(checks=(), scores=(), coverage=(), learnt=Learnt(0, stopped_early=True))
    path = tmp_path / 'a.html'
    report.write(path, empty, [Curve([], [], [])], [])
    text = path.read_text(encoding='utf-8')
    assert '0, stopped early' in text and 'Photometric error while learning' not in text


def test_without_plotly_the_page_says_how_to_get_the_curves(tmp_path, monkeypatch, pictures):
    monkeypatch.setitem(sys.modules, 'plotly.graph_objects', None)
    path = tmp_path / 'a.html'
    assert not report.write(path, CARD, [Curve([0], [0.3], [0.3])], pictures)
    assert 'pip install plotly' in path.read_text(encoding='utf-8')


def test_differences_are_dark_where_there_are_none():
    error = np.array([[0.0, 0.1, 0.4, np.nan]], np.float32)
    none, some, most, unknown = difference_image(error, 0.4)[0].astype(int)
    assert none.sum() < 20 < some.sum() < most.sum()
    assert unknown.tolist() == list(UNKNOWN)


def metres(k):
    """Depth of image k: a ramp from left to right, of its own [m]."""
    return np.tile(np.linspace(1, 2, 64, dtype=np.float32) + k, (48, 1))


def measured_tum(path):
    made.tum(path)
    lines = []
    for k, at_s in enumerate(made.times(5)):  # the last image has none
        (path / 'depth').mkdir(exist_ok=True)
        name = f'depth/{at_s + 0.004:.6f}.png'
        cv2.imwrite(str(path / name), np.rint(1000 * metres(k)).astype(np.uint16))
        lines.append(f'{at_s + 0.004:.6f} {name}')
    (path / 'depth.txt').write_text('# depth\n' + '\n'.join(lines))
    return path


def measured_bag(path, **info):
    with Written(path) as bag:
        made.images(bag, **info)
        made.tf(bag, 'base', 'camera', made.MOUNT, made.START_S, static=True)
        for at_s in made.times(7):
            T = made.where(at_s - 0.04) @ np.linalg.inv(made.MOUNT)
            made.tf(bag, 'odom', 'base', T, at_s - 0.04)
        for k, at_s in enumerate(made.times(5)):
            bag.depth('/cam/depth', at_s, 'camera', metres(k))
    return path


@pytest.mark.parametrize(
    ('write', 'info'),
    [(measured_tum, {}), (measured_bag, {}), (measured_bag, {'d': (-0.2, 0.05, 0.0, 0.0, 0.0)})],
)
def test_pictures_have_the_depth_of_their_image(tmp_path, write, info):
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    path = write(tmp_path / 'room', **info)
    recordings = open_recordings([str(path)])
    views = all_views(recordings)
    sources, skipped = find([str(path)])
    assert not skipped
    shown = [k for k, view in enumerate(views) if view.number in (1, 3, 5)]
    found = find_truths(sources, recordings, views, shown, GivenCamera())
    assert sorted(views[k].number for k in found) == [1, 3], 'the last image was not measured'
    for k, truth in found.items():
        camera = views[k].camera
        assert truth.shape == camera.size
        # the view of a lens is narrower than the image
        u = (np.arange(camera.width) - camera.cx) / camera.fx * made.FX + 31.5
        expected = np.interp(u, np.arange(64), metres(views[k].number)[0])
        middle = truth[20:28, 16:48] - expected[16:48]  # where the lens hardly distorts
        assert np.nanmax(np.abs(middle)) < 0.025 and np.isfinite(middle).mean() > 0.8
    assert find_truths([], recordings, views, shown, GivenCamera()) == {}


def test_depth_at_the_pixels_of_a_view_is_that_of_the_same_ray():
    camera, view = Camera(64, 48, 50, 50, 31.5, 23.5), Camera(40, 30, 25, 25, 25.5, 14.5)
    z = np.arange(64 * 48, dtype=np.float32).reshape(48, 64)
    found = resampled(z, camera, view)
    assert found.shape == (30, 40)
    # (25.5 - 5.5) px left of the middle are 40 px of the image
    assert np.isnan(found[14, 5]) and found[14, 20] == z[round(22.5), round(20.5)]
