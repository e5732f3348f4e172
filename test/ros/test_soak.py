# SPDX-License-Identifier: Apache-2.0
"""The soak: its camera, and short runs of it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from std_msgs.msg import Header

from depth_ros.messages.images import to_rgb
from tools.soak import checks
from tools.soak.camera import BYTES_PER_PIXEL, Look, compressed, image, level_in
from tools.soak.schedule import EVENTS


@pytest.mark.parametrize('make', [image, compressed])
@pytest.mark.parametrize('encoding', BYTES_PER_PIXEL)
def test_a_flat_image_keeps_its_level(encoding, make):
    error = checks.LEVEL_ERROR.get(encoding, 0) if make is image else checks.JPEG_ERROR
    for level in range(0, 256, 5):
        level = level_in(encoding, level)
        rgb = to_rgb(make(Look(16, 8, encoding), level, Header())).astype(float)
        assert rgb.shape == (8, 16, 3)
        assert np.abs(rgb - level).max() <= error


def soak(tmp_path, *arguments: str, timeout: float) -> dict:
    command = [sys.executable, '-m', 'tools.soak', '--output', str(tmp_path / 'out'), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return json.loads((tmp_path / 'out/report.json').read_text())


@pytest.mark.slow
def test_two_minutes_of_everything(tmp_path):
    report = soak(tmp_path, '--minutes', '2', '--seed', '5', timeout=600)
    assert set(report['events']) == set(EVENTS)
    assert any(row['to_the_frame'] and row['published'] for row in report['accounts'])
    assert all(report['arrived'].values()) and report['segments']['ever']
    assert (tmp_path / 'out/memory.png').exists() and (tmp_path / 'out/handles.png').exists()


@pytest.mark.slow
def test_killed_nodes_leave_nothing(tmp_path):
    report = soak(tmp_path, '--kills', '12', '--seed', '5', timeout=600)
    assert sum(report['exit_codes'].values()) == 12 and report['killed_while'].get('active')
