# SPDX-License-Identifier: Apache-2.0
"""The demo's page: all in one file, and alive in a browser."""

import json
import re
import shutil

import numpy as np
import pytest

from depth_ros.demo import report

pytest.importorskip('plotly', reason='plotly is not installed: pip install .[report]')
ROW = {'received': 9, 'lost': 1, 'rate_hz': 30.0, 'latency_p50_ms': 5.0, 'latency_p99_ms': 9.0}


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp('demo')
    error = {'abs_rel': 0.1234, 'delta1': 0.9, 'rmse_m': 0.5, 'valid': 1.0}
    summary = {
        'model': 'a<b',
        'camera': {'size': '64x48', 'frames': 10, 'rate_hz': 30.0, 'skipped_by_node': 0},
        'outputs': {name: ROW for name in ('depth/image', 'depth/camera_info', 'points')},
        'error': error,
        'error_on_floor': {},
    }
    (folder / 'summary.json').write_text(json.dumps(summary))
    noise = np.random.default_rng(0)
    depth = noise.uniform(1, 9, (48, 64)).astype(np.float32)
    depth[0] = np.inf
    times = np.stack((np.arange(10) / 30, noise.uniform(4, 9, 10)))
    np.savez(
        folder / 'snapshot.npz',
        rgb=noise.integers(0, 256, (48, 64, 3), np.uint8),
        depth=depth,
        truth=depth * 1.1,
        points=noise.uniform(-1, 9, (report.MOST_POINTS + 5, 3)).astype(np.float32),
        colours=noise.integers(0, 256, (report.MOST_POINTS + 5, 3), np.uint8),
        **{'timeline depth/image': times, 'timeline points': times},
    )
    return report.write(folder, 'What it is & is not.')


def test_the_page_stands_alone(page):
    text = page.read_text()
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="(?!data:)', text)
    assert 'a&lt;b' in text and 'What it is &amp; is not.' in text and '0.1234' in text
    assert page.stat().st_size < 12e6


def test_without_a_compared_frame_there_is_no_page(tmp_path):
    assert report.write(tmp_path, '') is None


def test_the_error_picture_tells_near_from_far():
    truth = np.array([[2.0, 2.0, 2.0, np.inf]], np.float32)
    depth = np.array([[2.0, 4.0, 1.0, np.inf]], np.float32)
    right, far, near, sky = report.error_picture(depth, truth)[0].tolist()
    assert right == [255, 255, 255] and far == [255, 0, 0] and near == [0, 0, 255]
    assert sky == [205, 205, 205]


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
