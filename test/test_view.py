# SPDX-License-Identifier: Apache-2.0
"""`depth-ros view` of recorded images: a file that Rerun's own reader reads; places to show it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import cv2
import numpy as np
import pytest

from depth_ros.cli import main

MODEL = ['--model', 'flat_ground', '--fx', '50']


@pytest.fixture
def recording():
    """How to read what was saved."""
    pytest.importorskip('rerun', reason='rerun-sdk is not installed: pip install .[view]')
    import recording

    return recording


@pytest.fixture
def clip(tmp_path):
    """A video of 12 frames whose blue grows."""
    path = tmp_path / 'clip.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10.0, (64, 48))
    for k in range(12):
        writer.write(np.full((48, 64, 3), (20 * k, 0, 100), np.uint8))
    writer.release()
    return path


def picture(path, seed=0, size=(48, 64)):
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))
    return path


def test_a_video_has_its_frames_with_seconds_since_its_start(recording, clip, tmp_path, capsys):
    file = tmp_path / 'clip.rrd'
    some = ['--every', '2', '--start', '0.3', '--limit', '3']
    assert main(['view', str(clip), *MODEL, *some, '--save', str(file)]) == 0
    assert '3 images; median depth' in capsys.readouterr().out
    recording.verify(file)
    rrd = recording.Rrd(file)
    assert set(rrd.entities) == {
        '/__properties', '/clip', '/clip/about', '/clip/camera', '/clip/camera/depth',
        '/clip/camera/image', '/clip/depth/median', '/clip/points', '/clip/time/network',
    }  # fmt: skip
    rows = rrd.entities['/clip/camera/depth']
    assert [row['time'].as_py().total_seconds() for row in rows] == [0.4, 0.6, 0.8]
    assert [row['frame'].as_py() for row in rows] == [0, 1, 2]
    for k, image in zip((4, 6, 8), rrd.images('/clip/camera/image'), strict=True):
        assert image.shape == (48, 64, 3)
        assert abs(image[..., 2].mean() - 20 * k) < 12 and abs(image[..., 0].mean() - 100) < 12
    assert rrd.blueprints, 'and a layout'


def test_metres_points_and_intrinsics_are_those_of_run(recording, tmp_path):
    pictures = tmp_path / 'in'
    pictures.mkdir()
    picture(pictures / 'a.png')
    picture(pictures / 'b.png', 1, (60, 80))
    file, out = tmp_path / 'x.rrd', tmp_path / 'out'
    ranges = ['-p', 'range.max:=8', '-p', 'range.min:=3', '-p', 'points.stride:=3']
    assert main(['view', str(pictures), *MODEL, *ranges, '--save', str(file)]) == 0
    command = ['run', str(pictures), *MODEL, *ranges, '--output', str(out), '--write', 'npy,ply']
    assert main(command) == 0
    rrd = recording.Rrd(file)
    z = rrd.depth('/pictures/camera/depth')
    assert len(z) == 2 and 'stamp' not in rrd.entities['/pictures/camera/depth'][0]
    assert np.isposinf(z[0]).any() and np.isneginf(z[0]).any() and np.isfinite(z[0]).any()
    for name, shown, points in zip('ab', z, rrd.points('/pictures/points'), strict=True):
        np.testing.assert_array_equal(shown, np.load(out / f'{name}_depth.npy'))
        # of the PLY: header, then x y z and colours
        head, _, table = (out / f'{name}.ply').read_bytes().partition(b'end_header\n')
        dtype = np.dtype([('xyz', '<f4', 3), ('rgb', 'u1', 3)])
        expected = np.frombuffer(table, dtype)
        assert f'element vertex {len(points)}'.encode() in head
        np.testing.assert_array_equal(points, expected['xyz'])
    colors = rrd.column('/pictures/points', 'Points3D:colors')[-1].to_numpy()
    rgb = np.stack([colors >> 24, colors >> 16 & 255, colors >> 8 & 255], 1)
    np.testing.assert_array_equal(rgb, expected['rgb'])
    (first, second) = rrd.entities['/pictures/camera']  # the other picture has another camera
    assert np.ravel(first['Pinhole:image_from_camera'].as_py()).tolist() == [
        50, 0, 0, 0, 50, 0, 32, 24, 1
    ]  # fmt: skip
    assert np.ravel(second['Pinhole:resolution'].as_py()).tolist() == [80, 60]
    right, down, forward = 3, 2, 5
    axes = np.ravel(rrd.entities['/pictures'][0]['ViewCoordinates:xyz'].as_py()).tolist()
    assert axes == [right, down, forward]
    for k, median in enumerate(rrd.figures('/pictures/depth/median')):
        assert median == pytest.approx(np.median(z[k][np.isfinite(z[k])]))


def test_the_raw_image_of_a_lens_is_shown_without_a_pinhole(recording, tmp_path):
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    from bag_writer import Written

    with Written(tmp_path / 'fish') as bag:
        bag.image('/image', 1, 'camera')
        bag.info('/camera_info', 1, 'camera', fx=20.0, d=[0.0] * 4, model='equidistant')
    file = tmp_path / 'x.rrd'
    command = ['view', str(tmp_path / 'fish'), '--model', 'flat_wall', '--save', str(file)]
    command += ['-p', 'undistort.projection:=wide', '-p', 'points.stride:=1']
    assert main([*command, '-p', 'undistort.depth_image:=lens']) == 0
    rrd = recording.Rrd(file)
    assert '/fish/camera' not in rrd.entities and len(rrd.depth('/fish/camera/depth')) == 1
    (points,) = rrd.points('/fish/points')
    assert len(points) == 64 * 48 and (points[:, 2] < 0).any()


@pytest.mark.parametrize('name', ['kitchen_7scenes_mcap', 'tum_desk_sqlite3'])
def test_a_bag_has_the_stamps_of_its_images(recording, data, tmp_path, name):
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    from rosbags.highlevel import AnyReader

    bag, file, out = data / 'bags' / name, tmp_path / 'x.rrd', tmp_path / 'out'
    model = ['--model', 'nano', '--limit', '2']
    assert main(['view', str(bag), *model, '--save', str(file)]) == 0
    assert main(['run', str(bag), *model, '--output', str(out), '--write', 'npy']) == 0
    stamps, infos = [], []
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages():
            if 'image_raw' in connection.topic and 'depth' not in connection.topic:
                stamp = reader.deserialize(raw, connection.msgtype).header.stamp
                stamps.append(stamp.sec * 10**9 + stamp.nanosec)
            elif 'CameraInfo' in connection.msgtype:
                infos.append(reader.deserialize(raw, connection.msgtype))
    recording.verify(file)
    rrd = recording.Rrd(file)
    for entity in ('camera/image', 'camera/depth', 'points', 'depth/median', 'time/network'):
        assert rrd.stamps_ns(f'/{name}/{entity}') == stamps[:2]
    for k, z in enumerate(rrd.depth(f'/{name}/camera/depth')):
        np.testing.assert_array_equal(z, np.load(out / name / f'{k:06d}_depth.npy'))
        points = rrd.points(f'/{name}/points')[k]
        assert len(points) == np.isfinite(z[::2, ::2]).sum()
        np.testing.assert_array_equal(points[:, 2], z[::2, ::2][np.isfinite(z[::2, ::2])])
    (camera,) = rrd.entities[f'/{name}/camera']
    matrix = np.reshape(camera['Pinhole:image_from_camera'].as_py(), (3, 3)).T
    expected = np.reshape(infos[0].k, (3, 3)).copy()
    expected[:2, 2] += 0.5  # Rerun's pixels begin at 0, those of ROS have their centre there
    np.testing.assert_allclose(matrix, expected, rtol=1e-6)


def test_a_scale_and_anchors_are_shown(recording, tmp_path):
    """Of a pipeline with anchors, as the depth map has them."""
    from depth_ros.core.camera import Camera
    from depth_ros.core.types import Anchors
    from depth_ros.offline.viewer import Place, Viewer

    viewer = Viewer(Place('save', str(tmp_path / 'x.rrd')))
    u, v = np.array([3.0, 4.0]), np.array([5.0, 6.0])
    viewer.show(
        'front/left', 1_700_000_000_123_456_789,
        camera=Camera(16, 12, 20, 20, 7.5, 5.5),
        anchors=Anchors(u, v, np.array([1.0, 2.0]), np.array([0.1, 0.1])),
        scale=(2.0, 5.0),
    )  # fmt: skip
    viewer.show('front/left', 1_700_000_000_200_000_000, scale=(np.nan, np.nan))
    viewer.tell('front/left', 'too slow', 1_700_000_000_200_000_000, level='WARN')
    viewer.close()
    rrd = recording.Rrd(tmp_path / 'x.rrd')
    (row,) = rrd.entities['/front/left/camera/anchors']
    assert row['stamp'].value == 1_700_000_000_123_456_789
    assert row['Points2D:positions'].as_py() == [[3.5, 5.5], [4.5, 6.5]], 'centres of pixels'
    found = {n: rrd.figures(f'/front/left/scale/{n}') for n in ('value', 'lower', 'upper')}
    assert found == {'value': [2.0], 'lower': [1.9], 'upper': [2.1]}, 'and nothing for NaN'
    assert rrd.figures('/front/left/spread/percent') == [5.0]
    (line,) = rrd.entities['/front/left/log']
    assert line['TextLog:text'].as_py() == ['too slow']


def test_the_frames_that_can_be_read_are_shown(recording, tmp_path, capsys):
    picture(tmp_path / 'a.png')
    (tmp_path / 'b.png').write_bytes(b'\x89PNG no more')
    file = tmp_path / 'x.rrd'
    assert main(['view', str(tmp_path), *MODEL, '--save', str(file)]) == 2
    said = capsys.readouterr()
    assert 'b.png' in said.err and '1 of the inputs have no depth' in said.err
    assert '1 images, 1 failed' in said.out
    assert len(recording.Rrd(file).depth('/pictures/camera/depth')) == 1


def command(*words):
    return [sys.executable, '-u', '-m', 'depth_ros.cli', 'view', *map(str, words), *MODEL]


@pytest.mark.parametrize(
    'number',
    [
        signal.SIGINT,
        *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGTERM, signal.SIGKILL)),
    ],
)
def test_a_signal_leaves_a_file_that_can_be_read(recording, tmp_path, number):
    clip, file = tmp_path / 'long.mp4', tmp_path / 'x.rrd'
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*'mp4v'), 30.0, (640, 480))
    for _ in range(600):
        writer.write(np.zeros((480, 640, 3), np.uint8))
    writer.release()
    process = subprocess.Popen(
        command(clip, '--save', file), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end_s = time.monotonic() + 90
    while not (file.exists() and file.stat().st_size > 20 << 20):
        assert time.monotonic() < end_s and process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 0 and 'Traceback' not in err, err
        assert re.search(r'\d+ images; median depth', out)
        recording.verify(file)
    rrd = recording.Rrd(file)
    assert 1 <= len(rrd.depth('/long/camera/depth')) < 600


def test_a_browser_gets_viewer_and_data(recording, clip, tmp_path):
    """The page and the data's address answer; Ctrl-C ends both."""
    env = {k: v for k, v in os.environ.items() if k not in ('DISPLAY', 'WAYLAND_DISPLAY')}
    process = subprocess.Popen(
        command(clip, '--web'), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if 'Ctrl-C' in line:
            break
    (url,) = re.findall(r'open (http://\S+)', ''.join(lines))
    with urllib.request.urlopen(url, timeout=20) as page:
        assert b'<html' in page.read().lower()
    port = int(re.search(r'%3A(\d+)%2Fproxy', url).group(1))
    socket.create_connection(('127.0.0.1', port), 5).close()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and 'Traceback' not in err, err
    assert '12 images; median depth' in out


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def until(condition, what):
    end_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.1)


def count(recording, file):
    """Depth images in a file that a server still writes."""
    try:
        return len(recording.Rrd(file).depth('/clip/camera/depth'))
    except (OSError, ValueError, KeyError, RuntimeError):  # half of it is there
        return 0


def test_a_viewer_that_runs_gets_it(recording, clip, tmp_path):
    """A server of Rerun's own program, asked to save what it receives."""
    from depth_ros.offline.viewer import _listens

    port, file = free_port(), tmp_path / 'received.rrd'
    words = ['--save', file, '--port', str(port), '--bind', '127.0.0.1']
    env = {**os.environ, 'HOME': str(tmp_path)}  # its settings
    server = subprocess.Popen([recording.PROGRAM, *words], env=env, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens('127.0.0.1', port), 'the server')
        url = f'rerun+http://127.0.0.1:{port}/proxy'
        assert main(['view', str(clip), *MODEL, '--connect', url]) == 0
        until(lambda: count(recording, file) == 12, 'all images')
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def test_a_window_is_opened_and_gets_it(recording, clip, tmp_path, monkeypatch):
    """With a program that has no window, and saves what it receives."""
    from depth_ros.offline import viewer

    port, file, pid = free_port(), tmp_path / 'received.rrd', tmp_path / 'pid'
    program = tmp_path / 'rerun'
    lines = (
        '#!/bin/sh',
        f'[ "$1" = --version ] && exec {recording.PROGRAM} --version',
        f'echo $$ > {pid}; echo "$@" > {tmp_path}/words; export HOME={tmp_path}',
        f'exec {recording.PROGRAM} --save {file} --port {port} --bind 127.0.0.1',
    )
    program.write_text('\n'.join(lines) + '\n')
    program.chmod(0o755)
    assert viewer._program() == str(recording.PROGRAM)
    monkeypatch.setattr(viewer, '_program', lambda: str(program))
    monkeypatch.setattr(viewer, 'GRPC_PORT', port)
    monkeypatch.setenv('DISPLAY', ':0')
    try:
        assert main(['view', str(clip), *MODEL, '--memory', '123MB']) == 0
        until(lambda: count(recording, file) == 12, 'all images')
    finally:
        os.kill(int(pid.read_text()), signal.SIGINT)
    until(lambda: not viewer._listens('127.0.0.1', port), 'its end')
    words = (tmp_path / 'words').read_text()
    assert f'--port={port}' in words and '--memory-limit=123MB' in words


def test_what_cannot_be_shown_is_refused_with_a_remedy(clip, tmp_path, capsys, monkeypatch):
    show = ['view', str(clip), *MODEL]

    def refused(*words):
        assert main([*words]) == 2
        return capsys.readouterr().err

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, 'rerun', None)
        assert "rerun-sdk, which is not installed: pip install 'depth_ros[view]'" in refused(*show)
    pytest.importorskip('rerun', reason='rerun-sdk is not installed: pip install .[view]')
    from depth_ros.offline import viewer

    monkeypatch.setattr(viewer, '_listens', lambda host, port: False)
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    said = refused(*show)
    assert 'no screen' in said and '--web' in said and '--save x.rrd' in said
    assert 'choose another path' in refused(*show, '--save', str(tmp_path / 'no' / 'x.rrd'))
    assert 'nothing listens at localhost:1' in refused(
        *show, '--connect', 'rerun+http://localhost:1/proxy'
    )
    assert 'is no URL of a viewer' in refused(*show, '--connect', 'localhost')
    assert '--namespace is for a running node, and there is an input: omit one' in refused(
        *show, '--namespace', '/front'
    )
    assert '--hfov is for recorded images, and there is no input: omit one' in refused(
        'view', '--hfov', '70', '--save', str(tmp_path / 'x.rrd')
    )


def test_without_ros_a_running_node_cannot_be_shown(tmp_path, capsys, monkeypatch):
    pytest.importorskip('rerun', reason='rerun-sdk is not installed: pip install .[view]')
    monkeypatch.setitem(sys.modules, 'depth_ros.ros.live', None)
    assert main(['view', '--save', str(tmp_path / 'x.rrd')]) == 2
    assert 'source a ROS 2 setup, or name a picture, video or bag' in capsys.readouterr().err
    assert not (tmp_path / 'x.rrd').exists()
