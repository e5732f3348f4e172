# SPDX-License-Identifier: Apache-2.0
"""`depth-ros run` with a camera of the network, here a server on loopback."""

import http.server
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
import torch

from depth_ros.cli import main
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import DepthMap
from depth_ros.offline.film import Film
from depth_ros.offline.inputs import find
from depth_ros.offline.recorded import Recorded
from depth_ros.parameters.settings import Settings


@pytest.fixture
def camera():
    """Serves `camera.frames` JPEG images at 20 Hz."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=frame')
            self.end_headers()
            try:
                for k in range(server.frames):
                    image = np.full((48, 64, 3), k % 250, np.uint8)
                    data = cv2.imencode('.jpg', image)[1].tobytes()
                    head = f'--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}'
                    self.wfile.write(f'{head}\r\n\r\n'.encode() + data + b'\r\n')
                    time.sleep(0.05)
            except OSError:
                pass  # the reader has gone

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.frames = 10_000
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.address = f'http://127.0.0.1:{server.server_address[1]}/video.mjpg'
    yield server
    server.shutdown()
    server.server_close()


def command(camera, out, *words):
    start = ['run', camera.address, '--model', 'flat_ground', '--fx', '50']
    return [*start, '--output', str(out), *words]


def test_images_until_the_limit(camera, tmp_path, capsys):
    assert main(command(camera, tmp_path, '--limit', '4', '--write', 'npy,video')) == 0
    said = capsys.readouterr().out
    assert '4 images; median depth' in said
    (film,) = tmp_path.glob('*_depth.mp4')
    assert len(list(tmp_path.rglob('*_depth.npy'))) == 4
    assert cv2.VideoCapture(str(film)).read()[0]


def test_a_video_of_a_slow_network_plays_in_real_time(tmp_path):
    camera = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
    z, rgb = torch.full((48, 64), 2.0), torch.zeros((48, 64, 3), dtype=torch.uint8)
    film = Film(tmp_path / 'a.mp4', 10.0, Settings(), by_time=True)
    for at_ms in (0, 500, 510, 1900):
        film.add(DepthMap(z, camera, rgb), Recorded('a', lambda: None, 10**18 + at_ms * 10**6))
    film.close(whole=True)
    assert cv2.VideoCapture(str(tmp_path / 'a.mp4')).get(cv2.CAP_PROP_FRAME_COUNT) == 20


def test_a_camera_that_ends(camera, tmp_path):
    camera.frames = 40
    assert main(command(camera, tmp_path, '--write', 'npy')) == 0
    names = sorted(int(p.name[:6]) for p in tmp_path.rglob('*_depth.npy'))
    assert len(names) >= 3 and names[-1] >= 20, 'the newest image, whatever was missed'


def run_until(words, there):
    """Start the command, and press Ctrl-C once `there` says so; (exit code, stdout, stderr)."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'depth_ros.cli', *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end_s = time.monotonic() + 60
    while not there() and process.poll() is None and time.monotonic() < end_s:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_ctrl_c_ends_it_with_a_whole_video(camera, tmp_path):
    words = command(camera, tmp_path, '--write', 'npy,video')
    code, out, err = run_until(words, lambda: len(list(tmp_path.rglob('*.npy'))) > 2)
    assert code == 0 and 'images; median depth' in out, err
    (film,) = tmp_path.glob('*.mp4')
    assert film.name.endswith('_depth.mp4') and '.part' not in film.name
    assert cv2.VideoCapture(str(film)).read()[0]


def test_ctrl_c_of_a_folder_is_no_traceback(tmp_path):
    for k in range(400):
        cv2.imwrite(str(tmp_path / f'{k}.png'), np.zeros((240, 320, 3), np.uint8))
    out = tmp_path / 'out'
    words = ['run', str(tmp_path), '--model', 'flat_ground', '--fx', '300', '--output', str(out)]
    code, _, err = run_until(words, lambda: list(out.glob('*.ply')))
    assert code == 130 and err.splitlines()[-1] == 'depth-ros: interrupted'
    assert 'Traceback' not in err


def test_cameras_that_are_not_there(camera, tmp_path, capsys):
    for address in ('/dev/video63', 'http://127.0.0.1:9/no'):
        assert main(['run', address, '--model', 'flat_wall', '--output', str(tmp_path)]) == 2
        assert f'{address} cannot be opened by OpenCV: check' in capsys.readouterr().err
    with pytest.raises(ConfigError, match='a camera is the only input; there are 2'):
        find([camera.address, str(tmp_path)])
