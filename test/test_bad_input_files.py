# SPDX-License-Identifier: Apache-2.0
"""What docs/bad-input.md says of checkpoints and parameters is so."""

import os

import bad_input
import pytest
import torch
from bad_input import REFUSED
from safetensors.torch import load_file, save, save_file
from stand_ins import names_only

from depth_ros import models
from depth_ros.checkpoints.find import find_weights
from depth_ros.core.errors import ConfigError, WeightsError
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.pipeline import build

SOURCE = PRESETS['nano'].source


class Command:
    def __reduce__(self):
        return os.system, ('touch executed',)


def changed(state, kind):
    """`state` of nano with one tensor changed."""
    name = sorted(state)[0]
    value = state[name]
    new = {
        'shape': lambda: torch.cat((value, value)),
        'NaN': lambda: torch.full_like(value, torch.nan),
        '8 bits': lambda: value.to(torch.float8_e4m3fn),
        'missing': lambda: None,
    }[kind]()
    return {k: new if k == name else v for k, v in state.items() if k != name or new is not None}


def make(kind, folder):
    """What `weights` is set to for a row."""
    path = folder / 'x.pth'
    state = load_file(SOURCE.packaged)
    contents = {
        'empty': b'',
        'web page': b'<!DOCTYPE html><html>Not found</html>',
        'pointer': b'version https://git-lfs.github.com/spec/v1\noid sha256:0',
        'cut off': SOURCE.packaged.read_bytes()[:-1000],
        'lying header': (1 << 40).to_bytes(8, 'little') + save(state)[8:],
    }
    objects = {
        'network': torch.nn.Linear(2, 2),
        'command': {'a': Command()},
        'another network': names_only('glp'),
        'two networks': {'student': state, 'teacher': dict(state)},
        'prefix': {f'net.{k}': v for k, v in state.items()},
        'training': {'network': state, 'optimizer': {'state': {}}, 'epoch': 3, 'scores': {1, 2}},
    }
    if kind == 'part':
        path = folder / 'model-00001-of-00002.safetensors'
        save_file(state, path)
    elif kind in contents:
        path.write_bytes(contents[kind])
    elif kind != 'nothing':
        torch.save(objects[kind] if kind in objects else changed(state, kind), path)
    return path


@pytest.mark.parametrize('row', bad_input.CHECKPOINTS, ids=lambda row: row.given)
def test_checkpoint(tmp_path, monkeypatch, caplog, row):
    monkeypatch.chdir(tmp_path)
    caplog.set_level('INFO', logger='depth_ros')
    path = make(row.values['make'], tmp_path)

    def load():
        return models.load('nano', ModelOptions(weights=find_weights(str(path), SOURCE)))

    if row.does == REFUSED:
        with pytest.raises(WeightsError) as error:
            load()
        assert row.message in str(error.value) and str(path) in str(error.value)
        assert not (tmp_path / 'executed').exists()
        return
    now = load().network.state_dict()
    published = models.load('nano', ModelOptions(weights=SOURCE.packaged)).network.state_dict()
    assert all(torch.equal(now[name], published[name]) for name in published)
    assert row.message in caplog.text


@pytest.mark.parametrize('row', bad_input.PARAMETERS, ids=lambda row: row.given)
def test_parameter(row):
    with pytest.raises(ConfigError) as error:
        build.load({'model': 'flat_wall', **row.values})
    assert row.does == REFUSED and row.message in str(error.value)
