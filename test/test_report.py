# SPDX-License-Identifier: Apache-2.0
"""The demo's page: all in one file, and alive in a browser."""

import json
import re
import shutil

import numpy as np
import pytest

from depth_ros.core.camera import Camera
from depth_ros.offline.evaluation.drawing import FOOT, SKY, WIDTH
from tools.demo import drawing, report

why = 'plotly is not installed: pip install .[report]'
make_subplots = pytest.importorskip('plotly.subplots', reason=why).make_subplots
ROW = {'received': 9, 'lost': 1, 'rate_hz': 30.0, 'latency_p50_ms': 5.0, 'latency_p99_ms': 9.0}
SCORES = {'abs_rel': 0.1234, 'delta1': 0.9, 'abs_rel_median': 0.0567, 'delta1_median': 0.95}


@pytest.fixture(scope='module')
def shot():
    noise = np.random.default_rng(0)
    depth = noise.uniform(1, 9, (2, 48, 64)).astype(np.float32)
    depth[:, 0] = np.inf
    times = np.stack((np.arange(90) / 30, noise.uniform(4, 9, 90)))
    return {
        'rgb': noise.integers(0, 256, (48, 64, 3), np.uint8),
        'depth': depth,
        'truth': depth * 1.1,
        'points': noise.uniform(-1, 9, (report.MAX_POINTS + 5, 3)).astype(np.float32),
        'colours': noise.integers(0, 256, (report.MAX_POINTS + 5, 3), np.uint8),
        'sent': times[0],
        'timeline depth/image': times,
        'timeline points': times,
    }


@pytest.fixture(scope='module')
def summary():
    return {
        'model': 'a<b',
        'camera': {'size': '64x48', 'frames': 90, 'rate_hz': 30.0, 'skipped_by_node': 0},
        'outputs': {name: ROW for name in ('depth/image', 'depth/camera_info', 'points')},
        'compared_frames': 2,
        'error': SCORES,
        'where': 'Measured on <this>.',
    }


@pytest.fixture(scope='module')
def page(shot, summary, tmp_path_factory):
    drawn = drawing.draw_frame(shot, Camera(64, 48, 60, 60, 31.5, 23.5))
    path = tmp_path_factory.mktemp('demo') / 'report.html'
    return report.write(path, summary, shot, drawn, 'What it is & is not.')


def test_the_page_needs_no_other_file(page):
    text = page.read_text()
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="(?!data:)', text)
    assert (
        'a&lt;b' in text
        and 'What it is &amp; is not.' in text
        and '0.123' in text
        and '0.057' in text
        and 'Measured on &lt;this&gt;.' in text
    )
    assert page.stat().st_size < 12e6


def test_a_frame_without_points_is_reported(shot, summary, tmp_path):
    none, short = np.empty((0, 3), np.float32), np.stack((np.arange(20) / 20, np.ones(20)))
    less = {**shot, 'points': none, 'colours': none.astype(np.uint8), 'sent': short[0]}
    less |= {f'timeline {name}': short for name in ('depth/image', 'points')}
    drawn = drawing.draw_frame(less, Camera(64, 48, 60, 60, 31.5, 23.5))
    text = report.write(tmp_path / 'report.html', summary, less, drawn, '').read_text()
    assert 'It has no points' in text and 'Plotly.newPlot' in text
    line = report._timeline(make_subplots(2, 1), less).data[0]
    assert line.x == pytest.approx([0.475]) and line.y == pytest.approx([20 / 0.95])


def test_the_error_image_separates_near_and_far():
    truth = np.array([[2.0, 2.0, 2.0, np.inf, 2.0]], np.float32)
    depth = np.array([[2.0, 4.0, 1.0, np.inf, np.nan]], np.float32)
    right, far, near, sky, unknown = drawing.error_image(depth, truth)[0].tolist()
    assert right == [255, 255, 255] and unknown == [0, 0, 0] and sky == list(SKY)
    assert far[0] > 2 * far[2] and near[2] > 2 * near[0]


def test_colours_span_most_of_the_truth_with_ticks_inside():
    near, far = drawing.colour_range(np.array([[0.9, 1.2, 3.0, 7.0, np.inf]], np.float32))
    assert (near, far) == (0.7, 8)
    assert drawing.colour_range(np.full((2, 2), np.inf, np.float32)) == (1, 10)
    assert drawing.depth_legend(near, far).shape == (FOOT, WIDTH, 3)
    colours = drawing.colourise(np.array([[0.7, 8.0, np.inf, np.nan]], np.float32), near, far)[0]
    assert colours[0, 0] > colours[0, 2] and colours[1, 2] > colours[1, 0]  # red, blue
    assert colours[2].tolist() == list(SKY) and not colours[3].any()


def test_a_scene_of_nothing_but_sky_is_drawn(shot):
    sky = np.full((1, 48, 64), np.inf, np.float32)
    none = np.empty((0, 3), np.float32)
    empty = {**shot, 'depth': sky, 'truth': sky, 'points': none, 'colours': none.astype(np.uint8)}
    sheet = drawing.draw_frame(empty, Camera(64, 48, 60, 60, 31.5, 23.5)).sheet()
    assert sheet.shape[1] == 3 * drawing.WIDTH + 4 * drawing.GAP


def test_the_cloud_can_be_turned_in_a_browser(page):
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    browser = shutil.which('chromium') or shutil.which('google-chrome')
    if not browser:
        pytest.skip('no chromium on this machine')
    eye = "JSON.stringify(document.getElementById('cloud')._fullLayout.scene._scene.getCamera())"
    flags = ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--disable-quic']
    flags += ['--enable-unsafe-swiftshader', '--disable-background-networking', '--no-first-run']
    with (
        playwright.sync_playwright() as session,
        session.chromium.launch(executable_path=browser, args=flags) as chromium,
    ):
        view = chromium.new_page(viewport={'width': 390, 'height': 844})  # a phone
        errors, asked = [], []
        view.on('console', lambda m: errors.append(m.text) if m.type == 'error' else None)
        view.on('pageerror', lambda e: errors.append(str(e)))
        view.on('request', lambda r: asked.append(r.url))
        view.goto(page.as_uri())
        view.wait_for_function("document.querySelectorAll('#cloud canvas').length > 0")
        view.evaluate("document.getElementById('cloud').scrollIntoView()")
        before = view.evaluate(eye)
        box = view.locator('#cloud').bounding_box()
        x, y = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
        view.mouse.move(x, y)
        view.mouse.down()
        view.mouse.move(x + 90, y + 30, steps=8)
        view.mouse.up()
        view.wait_for_function(f'{eye} !== {json.dumps(before)}')
        wide = 'document.documentElement.scrollWidth > document.documentElement.clientWidth'
        assert not view.evaluate(wide)
        assert not errors
        assert not [url for url in asked if not url.startswith(('file:', 'data:', 'blob:'))]
