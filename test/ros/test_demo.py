# SPDX-License-Identifier: Apache-2.0
"""The demo as a user runs it: three processes, real DDS, no mock."""

import json
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
from forked import run
from graph import camera
from sensor_msgs.msg import CameraInfo, Image

from tools.demo.processes import Child, stop

ROOT = Path(__file__).resolve().parents[2]
TOPICS = {
    'image': Image,
    'camera_info': CameraInfo,
    'true_depth': Image,
    'true_depth/camera_info': CameraInfo,
}


def run_demo(folder: Path, *words: str, domain: str = '') -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, 'ROS_DOMAIN_ID': domain}
    environment['DEPTH_ROS_CACHE'] = str(folder.parent / 'cache')
    environment['PYTHONPATH'] = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    command = [sys.executable, '-m', 'tools.demo', '--output', str(folder), *words]
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=200
    )


def test_demo_measures_and_draws_beside_another_camera(graph, source, tmp_path: Path) -> None:
    subscribers, stop_sending = [], threading.Event()

    def send() -> None:
        while not stop_sending.wait(0.05):
            source.send(camera(64, 48))
            subscribers.append(source.images.get_subscription_count())

    thread = threading.Thread(target=send)
    thread.start()
    try:
        done = run_demo(
            tmp_path, '--seconds', '4', '--size', '160x120', '--rate', '15', '--patience', '90',
            domain=os.environ['ROS_DOMAIN_ID'],
        )  # fmt: skip
    finally:
        stop_sending.set()
        thread.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'not used for training' in done.stdout
    assert max(subscribers) == 0, 'the demo listens to a camera that is not its own'
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['model'] == 'nano'
    assert summary['camera']['size'] == '160x120'
    assert summary['camera']['frames'] > 10  # 60 on a machine with nothing else to do
    for name in ('depth/image', 'depth/camera_info', 'points'):
        row = summary['outputs'][name]
        assert row['received'] > 0 and row['latency_p50_ms'] > 0, name
    assert summary['compared_frames'] > 0
    # wrong intrinsics, stamps or units are off by more than a small network is
    assert 0 < summary['error']['abs_rel'] < 0.6
    assert 0 < summary['error']['abs_rel_median'] < 0.5
    assert cv2.imread(str(tmp_path / 'demo.png')).std() > 5
    if find_spec('plotly'):
        assert (tmp_path / 'report.html').stat().st_size > 1e5


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        ('kind:=moon', "kind is 'moon'; choose one of"),
        ('encodng:=bgr8', 'there is no parameter encodng; choose from'),
        ('distortion:=maybe', "distortion is 'maybe'; write it like False"),
        ('frames:=1.7', 'frames is 1.7; write it like 90'),
        ('hfov_deg:=.nan', 'hfov_deg is nan; it must be positive'),
        ('rate:=.inf', 'rate is inf; it must be positive'),
        ('width:=200000', 'width is 200000; the maximum is 8192'),
        ('seed:=-7', 'seed is -7; it must be an integer of 0 to'),
        ('count:=-3', 'count is -3; set it to a number of images'),
        ('frames:=100000000', 'frames is 100000000: of 320x240 they take'),
    ],
)
def test_the_camera_refuses_what_it_cannot_do(given: str, words: str) -> None:
    done = run('depth_ros.sim.camera_node', '--ros-args', '-p', given)
    assert done.returncode == 2 and words in done.log and 'Traceback' not in done.log, done.log


@pytest.mark.parametrize('module', ['depth_ros.sim.camera_node', 'depth_ros.ros'])
def test_help_is_given_and_words_that_are_none_of_ros_are_refused(module: str) -> None:
    helped = run(module, '--help')
    assert helped.returncode == 0 and '--ros-args -p PARAMETER:=VALUE' in helped.log
    assert 'rate:=30.0' in helped.log or 'model:=auto' in helped.log
    refused = run(module, 'encoding:=nv12')
    assert refused.returncode == 2 and 'unrecognized arguments: encoding:=nv12' in refused.log


def test_the_truth_of_a_distorted_camera_is_that_of_its_pinhole(graph, tmp_path: Path) -> None:
    parameters = {'distortion': True, 'frames': 2, 'width': 64, 'height': 48, 'count': 300}
    got = {name: graph.collect(kind, name) for name, kind in TOPICS.items()}
    camera = Child('camera', 'depth_ros.sim.camera_node', parameters, tmp_path, os.environ)
    try:
        graph.wait(lambda: all(got.values()), 'all of its topics', 40.0)
        stamps = {m.header.stamp.nanosec for m in got['true_depth']}
        truth = next(m for m in got['true_depth/camera_info'] if m.header.stamp.nanosec in stamps)
        assert not any(truth.d) and any(got['camera_info'][0].d)
        assert list(truth.k) == list(got['camera_info'][0].k)
    finally:
        stop([camera])
        for received in got.values():
            received.close()
    assert camera.process.returncode == 0, camera.tail()  # stopped while it publishes


@pytest.mark.slow
def test_the_animation_moves(tmp_path: Path) -> None:
    path = tmp_path / 'demo.webp'
    if not hasattr(cv2, 'imwriteanimation'):
        pytest.skip('OpenCV writes animations from 4.11 on')
    done = run_demo(tmp_path, '--animation', str(path), '--size', '160x120')
    assert done.returncode == 0, done.stdout + done.stderr
    assert path.stat().st_size < 4e6  # few pixels make a cloud of dots
    _, film = cv2.imreadanimation(str(path))
    assert len(film.frames) == 58 and (film.frames[0] != film.frames[20]).any()


def test_an_unknown_model_shows_the_error_of_the_node(tmp_path: Path) -> None:
    done = run_demo(tmp_path, '--model', 'no_such_model', '--size', '160x120', '--patience', '15')
    assert done.returncode == 1
    assert 'no_such_model' in done.stderr
    assert not (tmp_path / 'summary.json').exists()
