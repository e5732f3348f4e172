# SPDX-License-Identifier: Apache-2.0
"""Downloads, from a hub on this machine that speaks as much of the protocol as they need."""

import dataclasses
import hashlib
import http.server
import json
import threading
from typing import ClassVar
from urllib.parse import unquote

import pytest
from huggingface_hub import constants

from depth_ros.errors import WeightsError
from depth_ros.models import PRESETS
from depth_ros.weights import locate

PRESET = PRESETS['depth_anything_v2_small']


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download asks for; `files` holds what it publishes."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_HEAD(self):
        repo, _, name = unquote(self.path).lstrip('/').partition('/resolve/main/')
        content = self.files.get(f'{repo}/{name}')
        refusal = {'no/repo': (401, 'RepoNotFound'), 'closed/repo': (403, 'GatedRepo')}.get(repo)
        if content is None or refusal:
            status, code = refusal or (404, 'EntryNotFound')
            self.send_response(status)
            self.send_header('X-Error-Code', code)
            content = b''
        else:
            self.send_response(200)
            self.send_header('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header('X-Repo-Commit', '0' * 40)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        return content

    def do_GET(self):
        self.wfile.write(self.do_HEAD())

    def log_message(self, *_):
        pass


def be_at(url, monkeypatch):
    template = url + '/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(constants, 'ENDPOINT', url)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(Hub, 'files', {})
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    be_at(f'http://127.0.0.1:{server.server_port}', monkeypatch)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Hub.files
    server.shutdown()
    server.server_close()


def test_the_published_file_is_downloaded_and_checked(hub):
    hub[f'{PRESET.repo}/{PRESET.file}'] = b'published'
    good = dataclasses.replace(PRESET, sha256=hashlib.sha256(b'published').hexdigest())
    path = locate('', good)
    assert path.name == PRESET.file
    assert path.read_bytes() == b'published'
    with pytest.raises(WeightsError, match='sha256 is not that of the published'):
        locate('', PRESET)


def test_a_file_in_a_folder_of_a_space_is_downloaded(hub):
    preset = PRESETS['depth_anything_v1_metric_indoor_large']
    space, _, folder = preset.repo.partition('/tree/main/')
    hub[f'{space}/{folder}/{preset.file}'] = b'published'
    path = locate('', preset)
    assert path.name == preset.file
    assert path.read_bytes() == b'published'


def test_another_repository_may_use_the_usual_name_and_brings_its_config(hub):
    hub['some/one/model.safetensors'] = b'x'
    hub['some/one/config.json'] = json.dumps({'max_depth': 20}).encode()
    path = locate('some/one', PRESET)
    assert path.name == 'model.safetensors'
    assert (path.parent / 'config.json').is_file()


@pytest.mark.parametrize('weights', ['', 'some/one'])
def test_what_was_downloaded_once_is_found_without_network(hub, monkeypatch, weights):
    hub[f'{PRESET.repo}/{PRESET.file}'] = hub['some/one/model.safetensors'] = b'x'
    preset = dataclasses.replace(PRESET, sha256='')
    path = locate(weights, preset)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    assert locate(weights, preset) == path


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ('some/one', f'some/one has no {PRESET.file} and no model.safetensors'),
        ('no/repo', 'no/repo is not on the hub, or private, and /.*no/repo is no file either'),
        ('closed/repo', 'accept the licence'),
        ('', f'{PRESET.repo} has no {PRESET.file}'),
    ],
)
def test_what_the_hub_refuses_is_said(hub, weights, message):
    with pytest.raises(WeightsError, match=message):
        locate(weights, PRESET)


# the hub's client tries for long before it gives up
@pytest.mark.parametrize('offline', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_without_network_the_message_says_what_to_fetch_by_hand(hub, monkeypatch, offline):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', offline)
    be_at('http://127.0.0.1:9', monkeypatch)
    with pytest.raises(WeightsError) as error:
        locate('', PRESET)
    for part in (PRESET.repo, PRESET.file, 'by hand', 'set weights:=<path>'):
        assert part in str(error.value)


def test_a_restricted_licence_must_be_accepted_before_the_first_download(hub):
    preset = PRESETS['depth_anything_v2_base']
    hub[f'{preset.repo}/{preset.file}'] = b'published'
    with pytest.raises(WeightsError, match=r"'CC-BY-NC-4.0', which restricts .*accept_licence"):
        locate('', preset)
    path = locate('', preset, licence_accepted=True)
    assert locate('', preset) == path


def test_which_licences_restrict():
    restricted = {name for name, preset in PRESETS.items() if preset.restricted}
    assert {'depth_anything_v2_base', 'depth_pro', 'glpdepth_nyu', 'glpdepth_kitti'} <= restricted
    assert {n for n in PRESETS if n.startswith('monodepth2')} <= restricted
    free = {'depth_anything_v3_metric_large', 'depth_anything_v2_small', 'onnx', 'flat_wall'}
    assert not free & restricted
