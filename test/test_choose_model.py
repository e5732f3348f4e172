# SPDX-License-Identifier: Apache-2.0
"""What a user gets who names no model."""

import dataclasses
import hashlib
import sys

import pytest
import torch
from huggingface_hub import constants
from test_weights_hub import be_at, hub  # noqa: F401  (a fixture)

from depth_ros.core.errors import ConfigError
from depth_ros.models import PRESETS
from depth_ros.models.facts import described_kind
from depth_ros.models.onnx import by_openvino
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.choose_model import (
    WITH_GPU,
    WITHOUT_GPU,
    WITHOUT_OPENVINO,
    choose_model,
    resolve,
)

#: what a machine has -> what auto takes
TAKEN = {'gpu': WITH_GPU, 'openvino': WITHOUT_GPU, 'neither': WITHOUT_OPENVINO}


@pytest.fixture(params=TAKEN)
def machine(request, has):
    """The preset that auto takes on a machine with or without a GPU and OpenVINO."""
    has(request.param)
    return PRESETS[TAKEN[request.param]]


@pytest.fixture
def has(monkeypatch, tmp_path):
    """`has('gpu')`: what this machine has; no server on the internet is asked."""
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(tmp_path / 'depth_ros'))
    serve(monkeypatch, 'http://127.0.0.1:9')

    def set_up(what):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: what == 'gpu')
        if what == 'openvino':  # it is found, installed or not
            monkeypatch.setattr(by_openvino, 'import_openvino', lambda: None)
        if what == 'neither':
            monkeypatch.setitem(sys.modules, 'openvino', None)

    return set_up


def serve(monkeypatch, server):
    """Let the file of `WITHOUT_GPU` be published by this server."""
    preset = PRESETS[WITHOUT_GPU]
    url = f'{server}/some/one/resolve/main/{preset.source.file}'
    sha256 = hashlib.sha256(b'weights').hexdigest()
    source = dataclasses.replace(preset.source, url=url, sha256=sha256)
    monkeypatch.setitem(PRESETS, WITHOUT_GPU, dataclasses.replace(preset, source=source))


def publish(files, preset, monkeypatch):
    if preset.source.url:
        serve(monkeypatch, constants.ENDPOINT)
        files[f'some/one/{preset.source.file}'] = b'weights'
    else:
        files[f'{preset.source.repo}/{preset.source.file}'] = b'weights'


def test_auto_takes_a_network_for_this_machine_and_downloads_it(
    hub,  # noqa: F811
    machine,
    monkeypatch,
    caplog,
):
    publish(hub, machine, monkeypatch)
    caplog.set_level('INFO')
    choice = choose_model(Settings())
    assert choice.name == machine.name and 'model auto' in choice.reason
    assert f'model is auto: {machine.name}' in caplog.text and 'WARNING' not in caplog.text


def test_the_networks_of_auto_are_unrestricted_and_metric():
    for name in TAKEN.values():
        kind = described_kind(PRESETS[name]).value
        assert not PRESETS[name].source.restricted and kind in ('metric', 'canonical')


def test_a_device_that_is_named_decides(hub, has, monkeypatch):  # noqa: F811
    has('openvino')
    publish(hub, PRESETS[WITHOUT_GPU], monkeypatch)
    publish(hub, PRESETS[WITH_GPU], monkeypatch)
    assert choose_model(Settings(device='cpu')).name == WITHOUT_GPU
    assert choose_model(Settings(device='cuda:1')).name == WITH_GPU


@pytest.mark.parametrize(
    'given', [{'engine': 'openvino'}, {'precision': 'bf16'}, {'device': 'gpu'}]
)
def test_a_file_of_integers_leaves_engine_device_and_precision_alone(
    hub,  # noqa: F811
    has,
    monkeypatch,
    given,
):
    has('openvino')
    publish(hub, PRESETS[WITHOUT_GPU], monkeypatch)
    publish(hub, PRESETS[WITHOUT_OPENVINO], monkeypatch)
    assert choose_model(Settings(**given)).name == WITHOUT_OPENVINO


def test_without_openvino_the_log_says_what_it_would_give(hub, has, monkeypatch, caplog):  # noqa: F811
    has('neither')
    publish(hub, PRESETS[WITHOUT_OPENVINO], monkeypatch)
    caplog.set_level('INFO')
    assert choose_model(Settings()).name == WITHOUT_OPENVINO
    assert f'model is auto, but not {WITHOUT_GPU}: ' in caplog.text
    assert "pip install 'depth_ros[openvino]'" in caplog.text


def test_without_one_file_the_next_network_is_taken(hub, has, monkeypatch):  # noqa: F811
    has('openvino')
    publish(hub, PRESETS[WITHOUT_OPENVINO], monkeypatch)
    assert choose_model(Settings()).name == WITHOUT_OPENVINO


def test_without_weights_nano_is_taken_with_a_warning(hub, machine, monkeypatch, caplog):  # noqa: F811
    be_at('http://127.0.0.1:9', monkeypatch)  # nothing listens there
    choice = choose_model(Settings())
    assert choice.name == 'nano' and f'weights of {machine.name}' in choice.reason
    assert choice.reason.endswith('not available')
    (warning,) = (record for record in caplog.records if record.levelname == 'WARNING')
    for text in (machine.name, 'cannot reach the hub', 'synthetic images only', 'set model'):
        assert text in warning.getMessage()


def test_weights_that_are_there_need_no_network(hub, machine, monkeypatch):  # noqa: F811
    publish(hub, machine, monkeypatch)
    choose_model(Settings())
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    hub.clear()
    assert choose_model(Settings()).name == machine.name


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (
            {'weights': 'my.pth'},
            "weights is 'my.pth' but model is 'auto': set model to the preset",
        ),
        ({'intrinsics': 'estimated'}, 'presets that can: depth_pro'),
        ({'two_views.mode': 'stereo', 'intrinsics': 'estimated'}, 'cannot estimate a camera'),
    ],
)
def test_what_auto_cannot_do_is_refused_before_a_download(hub, given, message):  # noqa: F811
    with pytest.raises(ConfigError, match=message):
        resolve(given)


@pytest.mark.parametrize('mode', ['stereo', 'motion'])
def test_auto_takes_a_network_for_several_views(mode):
    _, settings, choice = resolve({'two_views.mode': mode})
    assert choice.reason == f'model auto, two_views.mode {mode}'
    preset = PRESETS[settings.model]
    assert preset.max_views > 2 and not preset.source.restricted


def test_the_user_overrides_the_preset(hub, has, monkeypatch):  # noqa: F811
    has('openvino')
    publish(hub, PRESETS[WITHOUT_GPU], monkeypatch)
    values, settings, _ = resolve({'device': 'cpu'})
    assert values['model'] == 'auto' and settings.model == WITHOUT_GPU
    assert values['range.max'] == settings.range.max == 10.0
    _, settings, choice = resolve({'device': 'cpu', 'range.max': 5.0, 'model': 'nano'})
    assert settings.range.max == 5.0 and choice.reason == 'the parameter model'
