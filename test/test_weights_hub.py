# SPDX-License-Identifier: Apache-2.0
"""Downloads, from a hub on this machine that speaks as much of the protocol as they need."""

import contextlib
import dataclasses
import hashlib
import http.server
import json
import socket
import struct
import threading
from typing import ClassVar
from urllib.parse import unquote

import pytest
from huggingface_hub import __version__, constants, file_download

from depth_ros.checkpoints.find import find_weights
from depth_ros.core.errors import WeightsError
from depth_ros.models import PRESETS

SOURCE = PRESETS['depth_anything_v2_small'].source
UNCHECKED = dataclasses.replace(SOURCE, sha256='')
#: The client writes, and takes up again, in pieces of 10 MiB.
PIECE = constants.DOWNLOAD_CHUNK_SIZE
COMMIT = '0' * 40  #: the only one of each repository, which main is
CUT = PIECE + 1000  # where a connection breaks
CONTENT = bytes(range(256)) * ((PIECE + 1_000_000) // 256)
resumes = pytest.mark.skipif(
    __version__.startswith('0.'), reason='huggingface_hub before 1.0 resumes no broken download'
)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download asks for; `files` holds what it publishes.

    `faults` are what happens to the next downloads, one each, and `asked` the ranges they wanted.
    """

    files: ClassVar[dict[str, bytes]] = {}
    faults: ClassVar[list[str]] = []
    asked: ClassVar[list[str | None]] = []

    def answer(self, most=None):
        repo, _, rest = unquote(self.path).lstrip('/').partition('/resolve/')
        revision, _, name = rest.partition('/')
        content = self.files.get(f'{repo}/{name}')
        refusal = {
            'no/repo': (401, 'RepoNotFound'),
            'gone/repo': (404, 'RepoNotFound'),
            'closed/repo': (403, 'GatedRepo'),
        }.get(repo)
        if revision not in ('main', COMMIT):
            refusal = 404, 'RevisionNotFound'
        if content is None or refusal:
            status, code = refusal or (404, 'EntryNotFound')
            self.send_response(status)
            self.send_header('X-Error-Code', code)
            content = b''
        else:
            start = self.range_start()
            self.send_response(206 if start else 200)
            self.send_header('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header('X-Repo-Commit', COMMIT)
            content = content[start:][:most]
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        return content

    def do_HEAD(self):
        self.answer()

    def range_start(self):
        return int((self.headers.get('Range') or 'bytes=0-').removeprefix('bytes=').rstrip('-'))

    def do_GET(self):
        if '/resolve/' not in self.path:  # the client asks for more than files
            self.send_error(404)
            return
        self.asked.append(self.headers.get('Range'))
        fault = self.faults.pop(0) if self.faults else ''
        if fault.isdigit():
            self.send_error(int(fault))
            return
        content = self.answer(most=1000 if fault == 'short' else None)
        if fault in ('', 'short'):
            self.wfile.write(content)
            return
        self.close_connection = True
        self.wfile.write(content[: CUT - self.range_start()])
        if fault == 'reset':  # as a router does it, instead of a farewell
            self.connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)
            )
            self.connection.close()
        elif fault == 'gone':
            self.server.shutdown()  # nothing listens from now on
            self.server.server_close()

    def log_message(self, *_):
        pass


def be_at(url, monkeypatch):
    template = url + '/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(constants, 'ENDPOINT', url)
    for module in (constants, file_download):  # the client before 1.0 has a copy of it
        monkeypatch.setattr(module, 'HUGGINGFACE_CO_URL_TEMPLATE', template, raising=False)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    for name, empty in (('files', {}), ('faults', []), ('asked', [])):
        monkeypatch.setattr(Hub, name, empty)
    with serving(monkeypatch):
        yield Hub.files


@contextlib.contextmanager
def serving(monkeypatch):
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    be_at(f'http://127.0.0.1:{server.server_port}', monkeypatch)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield
    server.shutdown()
    server.server_close()


def left_in(tmp_path):
    """Files of some content in the client's cache, finished or not."""
    content = (tmp_path / 'cache').glob('models--*/blobs/*')
    return [path for path in content if path.stat().st_size]


def test_the_published_file_is_downloaded_and_checked(hub):
    hub[f'{SOURCE.repo}/{SOURCE.file}'] = b'published'
    good = dataclasses.replace(SOURCE, sha256=hashlib.sha256(b'published').hexdigest())
    path = find_weights('', good)
    assert path.name == SOURCE.file
    assert path.read_bytes() == b'published'
    with pytest.raises(WeightsError, match='sha256 is not that of the published'):
        find_weights('', SOURCE)


def test_a_file_in_a_folder_of_a_space_is_downloaded(hub):
    preset = PRESETS['depth_anything_v1_metric_indoor_large']
    space, _, folder = preset.source.repo.partition('/tree/main/')
    hub[f'{space}/{folder}/{preset.source.file}'] = b'published'
    path = find_weights('', preset.source)
    assert path.name == preset.source.file
    assert path.read_bytes() == b'published'


def test_another_repository_may_use_the_usual_name_and_brings_its_config(hub):
    hub['some/one/model.safetensors'] = b'x'
    hub['some/one/config.json'] = json.dumps({'max_depth': 20}).encode()
    path = find_weights('some/one', SOURCE)
    assert path.name == 'model.safetensors'
    assert (path.parent / 'config.json').is_file()


@pytest.mark.parametrize('weights', ['', 'some/one'])
@pytest.mark.parametrize('offline', [True, False])
def test_what_was_downloaded_once_is_found_without_network(hub, monkeypatch, weights, offline):
    hub[f'{SOURCE.repo}/{SOURCE.file}'] = hub['some/one/model.safetensors'] = b'x'
    path = find_weights(weights, UNCHECKED)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', offline)
    be_at('http://127.0.0.1:9', monkeypatch)
    Hub.asked.clear()
    assert find_weights(weights, UNCHECKED) == path
    assert not Hub.asked


@resumes
def test_a_broken_connection_is_taken_up_where_it_broke(hub):
    hub[f'{SOURCE.repo}/{SOURCE.file}'] = CONTENT
    Hub.faults += ['cut']
    assert find_weights('', UNCHECKED).read_bytes() == CONTENT
    assert Hub.asked == [None, f'bytes={PIECE}-']


@pytest.mark.parametrize(
    ('faults', 'reason'),
    [
        pytest.param(['reset'], 'ReadError', marks=resumes),
        pytest.param(
            ['short'], f'should be of size {len(CONTENT)} but has size 1000', marks=resumes
        ),
        (['503'], '503'),
        (['403'], '403'),
        (['404'], '404'),
        # all that the hub has of it came, and it is not all
        pytest.param(['cut', '416'], '416', marks=resumes),
        pytest.param(['gone'], 'ConnectError', marks=[pytest.mark.slow, resumes]),
    ],
)
def test_a_download_that_fails_leaves_nothing_and_can_be_tried_again(
    hub, tmp_path, monkeypatch, faults, reason
):
    hub[f'{SOURCE.repo}/{SOURCE.file}'] = CONTENT
    Hub.faults += faults
    with pytest.raises(WeightsError) as error:
        find_weights('', UNCHECKED)
    for part in (SOURCE.repo, SOURCE.file, reason, 'by hand', 'set weights:=<path>'):
        assert part in str(error.value)
    assert not Hub.faults and not left_in(tmp_path)
    assert 'force_download' not in str(error.value), 'advice for programmers'
    with serving(monkeypatch):  # or again, where it was gone
        assert find_weights('', UNCHECKED).read_bytes() == CONTENT


@pytest.mark.parametrize('when', ['while it was downloaded', 'later, on the disk'])
def test_a_damaged_file_is_deleted_and_fetched_again_at_the_next_start(hub, tmp_path, when):
    good = dataclasses.replace(SOURCE, sha256=hashlib.sha256(b'published').hexdigest())
    hub[f'{SOURCE.repo}/{SOURCE.file}'] = b'published'
    if when.startswith('later'):
        find_weights('', good).write_bytes(b'publishes')
    else:
        hub[f'{SOURCE.repo}/{SOURCE.file}'] = b'publishes'
    with pytest.raises(
        WeightsError, match=f'{SOURCE.file}: sha256 is not .*it was deleted: start'
    ):
        find_weights('', good)
    assert not left_in(tmp_path)
    hub[f'{SOURCE.repo}/{SOURCE.file}'] = b'published'
    assert find_weights('', good).read_bytes() == b'published'


def test_what_is_missing_today_may_be_there_tomorrow(hub):
    with pytest.raises(WeightsError, match=f'has no {SOURCE.file}'):
        find_weights('', UNCHECKED)
    hub[f'{SOURCE.repo}/{SOURCE.file}'] = b'published'
    assert find_weights('', UNCHECKED).read_bytes() == b'published'


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ('some/one', f'some/one has no {SOURCE.file} and no model.safetensors'),
        ('no/repo', 'no/repo is not on the hub, or private, and /.*no/repo is no file either'),
        ('gone/repo', 'gone/repo is not on the hub, or private, and /.* by hand .*set weights'),
        ('closed/repo', 'accept the licence'),
        ('', f'{SOURCE.repo} has no {SOURCE.file}; set weights to a downloaded file'),
    ],
)
def test_what_the_hub_refuses_is_said(hub, tmp_path, weights, message):
    with pytest.raises(WeightsError, match=message):
        find_weights(weights, SOURCE)
    assert not left_in(tmp_path)


# the hub's client tries for long before it gives up
@pytest.mark.parametrize('offline', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_without_network_the_message_says_what_to_fetch_by_hand(hub, monkeypatch, offline):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', offline)
    be_at('http://127.0.0.1:9', monkeypatch)
    with pytest.raises(WeightsError) as error:
        find_weights('', SOURCE)
    for part in (SOURCE.repo, SOURCE.file, 'by hand', 'set weights:=<path>'):
        assert part in str(error.value)


def test_a_restricted_licence_must_be_accepted_before_the_first_download(hub):
    preset = PRESETS['depth_anything_v2_base']
    hub[f'{preset.source.repo}/{preset.source.file}'] = b'published'
    with pytest.raises(WeightsError, match=r"'CC-BY-NC-4.0', which restricts .*accept_licence"):
        find_weights('', preset.source)
    path = find_weights('', preset.source, licence_accepted=True)
    assert find_weights('', preset.source) == path


def test_a_copy_by_others_is_under_the_same_licence(hub):
    preset = PRESETS['depth_anything_v2_base']
    hub[f'some/one/{preset.source.file}'] = b'published'
    with pytest.raises(WeightsError, match='set accept_licence to true'):
        find_weights('some/one', preset.source)
    path = find_weights('some/one', preset.source, licence_accepted=True)
    assert find_weights('some/one', preset.source) == path


def test_which_licences_restrict():
    restricted = {name for name, preset in PRESETS.items() if preset.source.restricted}
    assert {'depth_anything_v2_base', 'depth_pro', 'glpdepth_nyu', 'glpdepth_kitti'} <= restricted
    assert {n for n in PRESETS if n.startswith('monodepth2')} <= restricted
    free = {'depth_anything_v3_metric_large', 'depth_anything_v2_small', 'onnx', 'flat_wall'}
    assert not free & restricted
