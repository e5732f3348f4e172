# SPDX-License-Identifier: Apache-2.0
"""What a user gets who names no model."""

import pytest
import torch
from huggingface_hub import constants
from test_weights_hub import be_at, hub  # noqa: F401  (a fixture)

from depth_ros.core.errors import ConfigError
from depth_ros.models import PRESETS
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.choose_model import WITH_GPU, WITHOUT_GPU, choose_model, resolve


@pytest.fixture(params=[True, False], ids=['gpu', 'no gpu'])
def machine(request, monkeypatch):
    """The preset that auto takes on a machine with or without a GPU."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: request.param)
    return PRESETS[WITH_GPU if request.param else WITHOUT_GPU]


def publish(files, preset):
    files[f'{preset.source.repo}/{preset.source.file}'] = b'weights'


def test_auto_takes_a_network_for_this_machine_and_downloads_it(hub, machine, caplog):  # noqa: F811
    publish(hub, machine)
    caplog.set_level('INFO')
    choice = choose_model(Settings())
    assert choice.name == machine.name and 'model auto' in choice.reason
    assert f'model is auto: {machine.name}' in caplog.text and 'WARNING' not in caplog.text


def test_the_networks_of_auto_are_unrestricted_and_metric():
    for name in (WITH_GPU, WITHOUT_GPU):
        assert not PRESETS[name].source.restricted and PRESETS[name].kind.value in (
            'metric', 'canonical',
        )  # fmt: skip


def test_a_device_that_is_named_decides(hub, machine):  # noqa: F811
    publish(hub, PRESETS[WITHOUT_GPU])
    publish(hub, PRESETS[WITH_GPU])
    assert choose_model(Settings(device='cpu')).name == WITHOUT_GPU
    assert choose_model(Settings(device='cuda:1')).name == WITH_GPU


def test_without_weights_nano_is_taken_with_a_warning(hub, machine, monkeypatch, caplog):  # noqa: F811
    be_at('http://127.0.0.1:9', monkeypatch)  # nothing listens there
    choice = choose_model(Settings())
    assert choice.name == 'nano' and f'weights of {machine.name} not available' in choice.reason
    (warning,) = caplog.records
    assert warning.levelname == 'WARNING'
    for text in (machine.name, 'cannot reach the hub', 'synthetic images only', 'set model'):
        assert text in warning.getMessage()
    # the next start asks again
    monkeypatch.undo()


def test_weights_that_are_there_need_no_network(hub, machine, monkeypatch):  # noqa: F811
    publish(hub, machine)
    choose_model(Settings())
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    assert choose_model(Settings()).name == machine.name


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (
            {'weights': 'my.pth'},
            "weights is 'my.pth' but model is 'auto': set model to the preset",
        ),
        ({'intrinsics': 'estimated'}, 'presets that can: depth_pro'),
        ({'two_views.mode': 'stereo'}, 'presets that take two: depth_anything_v3_small or'),
    ],
)
def test_what_auto_cannot_do_is_refused_before_a_download(hub, given, message):  # noqa: F811
    with pytest.raises(ConfigError, match=message):
        resolve(given)


def test_the_user_overrides_the_preset(hub):  # noqa: F811
    publish(hub, PRESETS[WITHOUT_GPU])
    values, settings, _ = resolve({'device': 'cpu'})
    assert values['model'] == 'auto' and settings.model == WITHOUT_GPU
    assert values['range.max'] == settings.range.max == 19.5
    _, settings, choice = resolve({'device': 'cpu', 'range.max': 5.0, 'model': 'nano'})
    assert settings.range.max == 5.0 and choice.reason == 'the parameter model'
