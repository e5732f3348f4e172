# SPDX-License-Identifier: Apache-2.0
"""Downloads from a publisher's own server, on this machine, that misbehaves in every way."""

import dataclasses
import hashlib
import http.server
import io
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import ClassVar

import pytest

from depth_ros.checkpoints.cache import cache_directory
from depth_ros.checkpoints.download import cached, fetch
from depth_ros.checkpoints.find import find_weights
from depth_ros.core.errors import WeightsError
from depth_ros.models import PRESETS


def zipped(content):
    """A zip of one file, not compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr('encoder.pth', content)
    return buffer.getvalue()


CONTENT = zipped(bytes(range(256)) * 4000)
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `CONTENT`, cutting the connection after `cut` bytes."""

    cut: ClassVar[int | None] = None
    ranges: ClassVar[bool] = True
    asked: ClassVar[list[str | None]] = []

    def do_GET(self):
        wanted = self.headers.get('Range')
        Server.asked.append(wanted)
        if 'missing' in self.path:
            self.send_error(404)
            return
        start = int(wanted.removeprefix('bytes=').rstrip('-')) if wanted and self.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header('Content-Length', str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT) if self.cut is None else min(start + self.cut, len(CONTENT))
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(Server, 'cut', None)
    monkeypatch.setattr(Server, 'ranges', True)
    monkeypatch.setattr(Server, 'asked', [])
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/mono%2Bstereo.zip'
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_once(url):
    assert cached(url) is None
    path = fetch(url, MD5)
    assert path.read_bytes() == CONTENT and path.name == 'mono+stereo.zip'
    assert fetch(url, MD5) == path == cached(url)
    assert len(Server.asked) == 1


def test_a_broken_connection_is_taken_up_where_it_broke(url, monkeypatch):
    monkeypatch.setattr(Server, 'cut', 400_000)
    assert fetch(url, MD5).read_bytes() == CONTENT
    assert Server.asked == [None, 'bytes=400000-', 'bytes=800000-']


def test_without_ranges_the_whole_file_is_requested_again(url, monkeypatch):
    monkeypatch.setattr(Server, 'ranges', False)
    part = cache_directory() / 'mono+stereo.zip.part'
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    assert fetch(url, MD5).read_bytes() == CONTENT


def test_what_came_of_a_truncated_file_is_kept_for_later(url, monkeypatch):
    monkeypatch.setattr(Server, 'cut', 1000)
    with pytest.raises(WeightsError, match=r'connection lost 4 times; .*part is kept'):
        fetch(url, MD5)
    assert cached(url) is None
    monkeypatch.setattr(Server, 'cut', None)
    assert fetch(url, MD5).read_bytes() == CONTENT
    assert Server.asked[-1] == 'bytes=4000-'


def test_a_finished_part_is_recognised(url):
    part = cache_directory() / 'mono+stereo.zip.part'
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert fetch(url, MD5).read_bytes() == CONTENT


def test_another_content_is_refused_and_deleted(url):
    with pytest.raises(WeightsError, match='md5 is not that of the published file'):
        fetch(url, '0' * 32)
    assert not list(cache_directory().iterdir())


def test_a_web_page_instead_of_a_zip_is_not_kept(url, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(__name__ + '.CONTENT', b'<html>sign in first</html>')
        with pytest.raises(WeightsError, match='the download is no intact zip and was deleted'):
            fetch(url)
    assert not list(cache_directory().iterdir())
    assert fetch(url).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_made_is_named(url, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(tmp_path / 'file' / 'cache'))
    with pytest.raises(WeightsError, match=r'cannot be created .* set DEPTH_ROS_CACHE'):
        fetch(url)


def test_a_missing_file_and_a_silent_server_are_named(url):
    with pytest.raises(WeightsError, match='HTTP error 404'):
        fetch(url.replace('mono', 'missing'))
    with pytest.raises(WeightsError, match=r'cannot be reached .*set weights:=<path>'):
        fetch('http://127.0.0.1:9/x.zip')


def test_a_restricted_licence_is_shown_before_the_first_download(url):
    source = dataclasses.replace(PRESETS['monodepth2_stereo_640x192'].source, url=url, md5=MD5)
    with pytest.raises(WeightsError, match=r"'Niantic, non-commercial'.*set accept_licence"):
        find_weights('', source)
    assert not Server.asked
    path = find_weights('', source, licence_accepted=True)
    assert path.read_bytes() == CONTENT
    assert find_weights('', source) == path, 'what is there is not asked for again'


def test_two_that_start_at_once_share_one_download(url, tmp_path):
    paths, code = [], f'from depth_ros.checkpoints.download import fetch; print(fetch({url!r}))'
    children = [
        subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for child in children:
        out, _ = child.communicate(timeout=60)
        assert child.returncode == 0
        paths.append(Path(out.strip()))
    assert len(set(paths)) == 1 and paths[0].read_bytes() == CONTENT
    assert len(Server.asked) == 1


@pytest.mark.parametrize('at', [200, len(CONTENT) // 2])
def test_a_zip_with_a_wrong_byte_is_not_kept_even_without_md5(url, monkeypatch, at):
    broken = bytearray(CONTENT)
    broken[at] ^= 255
    monkeypatch.setattr(sys.modules[__name__], 'CONTENT', bytes(broken))
    with pytest.raises(WeightsError, match='no intact zip'):
        fetch(url)
    assert cached(url) is None


def test_without_a_home_the_message_names_the_variable_to_set(url, monkeypatch):
    monkeypatch.delenv('DEPTH_ROS_CACHE', raising=False)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.delenv('HOME', raising=False)
    monkeypatch.setattr(os, 'getuid', lambda: 54321)
    with pytest.raises(WeightsError, match='set DEPTH_ROS_CACHE'):
        fetch(url)


@pytest.fixture
def one_file(url, monkeypatch):
    """A source whose weights are a file, not a zip: that of FastDepth with other content."""
    monkeypatch.setattr(__name__ + '.CONTENT', b'TFL3' * 1000)
    return dataclasses.replace(
        PRESETS['fastdepth_nyu'].source,
        url=url.replace('mono%2Bstereo.zip', 'fast_depth_224.tflite'),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


def test_a_file_is_downloaded_checked_and_kept(one_file, caplog):
    caplog.set_level('INFO', logger='depth_ros')
    path = find_weights('', one_file)
    assert path.name == 'fast_depth_224.tflite' and path.read_bytes() == CONTENT
    assert path.parent == cache_directory()
    assert f'downloading {one_file.url}; licence: MIT' in caplog.text
    assert find_weights('', one_file) == path and len(Server.asked) == 1


def test_another_file_than_the_published_one_is_refused_and_deleted(one_file):
    with pytest.raises(WeightsError, match=r'sha256 is not that of the published .* start again'):
        find_weights('', dataclasses.replace(one_file, sha256='0' * 64))
    assert not list(cache_directory().iterdir())


def test_a_file_that_was_damaged_in_the_cache_is_downloaded_again(one_file, caplog):
    path = find_weights('', one_file)
    path.write_bytes(b'TFL3')
    assert find_weights('', one_file).read_bytes() == CONTENT
    assert 'is not the published file (sha256 differs): it is downloaded again' in caplog.text
    assert len(Server.asked) == 2


def test_a_file_of_the_user_replaces_that_of_a_server(one_file, tmp_path):
    mine = tmp_path / 'mine.onnx'
    mine.touch()
    assert find_weights(str(mine), one_file) == mine
    with pytest.raises(
        WeightsError, match=r'none\.tflite does not exist; give a file, a folder or'
    ):
        find_weights('none.tflite', one_file)
    assert not Server.asked
