# SPDX-License-Identifier: Apache-2.0
"""The demo as a user runs it: three processes, real DDS, no mock."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parents[2]
# found, not imported: the PyPI wheels re-execute Python at import
pytestmark = pytest.mark.skipif(find_spec('rclpy') is None, reason='needs rclpy')


def run_demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != 'ROS_DOMAIN_ID'}
    environment['PYTHONPATH'] = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    command = [sys.executable, '-m', 'depth_ros.demo', '--output', str(folder), *words]
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120
    )


def test_demo_measures_and_draws(tmp_path: Path) -> None:
    done = run_demo(tmp_path, '--seconds', '4', '--size', '320x240', '--patience', '60')
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'geometry, not a network' in done.stdout
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['model'] == 'flat_ground'
    assert summary['camera']['frames'] > 60  # 120 on a machine with nothing else to do
    for name in ('depth/image', 'depth/camera_info', 'points'):
        row = summary['outputs'][name]
        assert row['received'] > 0.5 * summary['camera']['frames'], name
        assert 0 < row['latency_p50_ms'] < 500, name
    assert summary['compared_frames'] > 0
    assert summary['error_on_floor']['abs_rel'] < 1e-3
    assert summary['error_on_floor']['valid'] > 0.95
    assert summary['error']['abs_rel'] > 0.01  # boxes are not floor
    for name in ('rgb', 'depth', 'truth', 'cloud', 'demo'):
        picture = cv2.imread(str(tmp_path / f'{name}.png'))
        assert picture is not None and picture.std() > 5, name


def test_unknown_model_is_told_with_the_nodes_own_words(tmp_path: Path) -> None:
    done = run_demo(tmp_path, '--model', 'no_such_model', '--patience', '15')
    assert done.returncode == 1
    assert 'no_such_model' in done.stderr
    assert not (tmp_path / 'summary.json').exists()
