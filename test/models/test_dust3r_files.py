# SPDX-License-Identifier: Apache-2.0
"""DUSt3R: every published layout has its place, and what the loader refuses."""

import argparse
import logging
import pathlib

import pytest
import torch
from safetensors.torch import save_file
from stand_ins import empty, names_only

from depth_ros.checkpoints.keys import rename
from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.core.errors import ConfigError, WeightsError
from depth_ros.models import PRESETS, ModelOptions, load
from depth_ros.models.dust3r.checkpoint import RULES, UNUSED, guess_head
from depth_ros.models.dust3r.heads import Shape
from depth_ros.models.dust3r.network import Dust3r

LAYOUTS = ('224_linear', '512_linear', '512_dpt')


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_published_tensor_is_mapped(layout):
    state = empty(f'dust3r-{layout}')
    with torch.device('meta'):
        network = Dust3r(guess_head(state))
    want = {k: v.shape for k, v in network.state_dict().items()}
    have = {k: v.shape for k, v in rename(state, RULES).items()}
    assert len(have) == len(state)
    assert {k: have.get(k) for k in want} == want
    left = set(have) - set(want)
    assert 'mask_token' in left
    assert len(left) == (1 if layout.endswith('linear') else 1 + 2 * 4 + 2 * 4)


def a_file(folder, layout, name='model.safetensors'):
    """Published names, without their values: enough for what is refused before the shapes."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(names_only(f'dust3r-{layout}'), path)
    return path


@pytest.mark.parametrize(
    ('name', 'preset', 'right'),
    [
        ('DUSt3R_ViTLarge_BaseDecoder_224_linear.pth', '512_linear', '224_linear'),
        ('DUSt3R_ViTLarge_BaseDecoder_512_linear/model.safetensors', '224_linear', '512_linear'),
        (
            'models--naver--DUSt3R_ViTLarge_BaseDecoder_512_dpt/snapshots/0/model.safetensors',
            '512_linear',
            '512_dpt',
        ),
    ],
)
def test_a_file_that_is_by_its_name_another_variant_is_refused(tmp_path, name, preset, right):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    said = f'by its name not dust3r_{preset}; set model to dust3r_{right}, or rename'
    with pytest.raises(WeightsError, match=said):
        load(f'dust3r_{preset}', ModelOptions(weights=tmp_path / name))


@pytest.mark.parametrize(
    ('layout', 'preset', 'said'),
    [
        ('512_dpt', '512_linear', 'its heads are dpt; set model to dust3r_512_dpt$'),
        ('512_linear', '512_dpt', 'heads are linear; set model to dust3r_224_linear or dust3r_5'),
    ],
)
def test_the_other_head_is_refused(tmp_path, layout, preset, said):
    path = a_file(tmp_path, layout)
    with pytest.raises(WeightsError, match=said):
        load(f'dust3r_{preset}', ModelOptions(weights=path))


def test_a_config_that_states_another_size_is_refused(tmp_path):
    path = a_file(tmp_path, '512_linear')
    # the published config.json says Infinity, which is no JSON
    (tmp_path / 'config.json').write_text(
        '{"img_size": [512, 512], "depth_mode": ["exp", -Infinity, Infinity]}'
    )
    said = r'its config.json says img_size \[512, 512\]; set model to dust3r_512_linear'
    with pytest.raises(WeightsError, match=said):
        load('dust3r_224_linear', ModelOptions(weights=path))
    with pytest.raises(WeightsError, match='does not fit the network'):  # gets past the config
        load('dust3r_512_linear', ModelOptions(weights=path))


def test_a_file_that_names_no_variant_is_used_with_a_warning(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path = a_file(tmp_path, '512_linear', 'mine.safetensors')
    with pytest.raises(WeightsError, match='does not fit'):
        load('dust3r_224_linear', ModelOptions(weights=path))
    assert 'does not state its variant; assumed to be dust3r_224_linear' in caplog.text


def test_another_family_is_named(tmp_path):
    path = tmp_path / 'x.safetensors'
    save_file(names_only('da2-vits'), path)
    said = 'looks like a Depth Anything v1 or v2 checkpoint; dust3r_512_dpt takes model.safe'
    with pytest.raises(WeightsError, match=said):
        load('dust3r_512_dpt', ModelOptions(weights=path))


def test_only_known_unused_tensors_may_be_left_over(tmp_path):
    tiny = Dust3r('dpt', Shape(64, 1, 64, 4, 8, (4, 4, 8, 8)))
    state = tiny.state_dict()
    load_strict(tiny, {**state, 'mask_token': torch.zeros(1)}, path=tmp_path, ignore=UNUSED)
    surplus = {**state, 'heads.0.extra': torch.zeros(1)}
    with pytest.raises(WeightsError, match=r'1 unexpected: heads\.0\.extra'):
        load_strict(tiny, surplus, path=tmp_path, ignore=UNUSED)
    del state['decoders.1.3.norm_other.bias']
    with pytest.raises(WeightsError, match=r'1 missing: decoders\.1\.3\.norm_other\.bias'):
        load_strict(tiny, state, path=tmp_path, ignore=UNUSED)


def test_a_file_may_contain_the_arguments_of_the_training(tmp_path):
    path = tmp_path / 'x.pth'
    args = argparse.Namespace(model='Net(conf_mode=("exp", 1, inf))', lr=1e-4, sizes=[(1, 2)])
    torch.save({'model': {'enc_norm.bias': torch.ones(1)}, 'args': args, 'epoch': 3}, path)
    assert read_checkpoint(path) == {'enc_norm.bias': torch.ones(1)}


class Code:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return pathlib.os.mkdir, (self.path,)


@pytest.mark.parametrize('nested', [False, True])
def test_code_among_the_arguments_is_not_run(tmp_path, nested):
    path, trap = tmp_path / 'x.pth', tmp_path / 'trap'
    args = argparse.Namespace(a=Code(trap)) if nested else Code(trap)
    torch.save({'model': {'enc_norm.bias': torch.zeros(1)}, 'args': args}, path)
    refused = r'pickle of more than tensors \((posix|nt)\.mkdir\)'
    with pytest.raises(WeightsError, match=refused):
        load('dust3r_512_dpt', ModelOptions(weights=path))
    assert not trap.exists()


def test_weights_and_a_valid_input_size_are_required(tmp_path):
    with pytest.raises(ConfigError, match=r'needs weights; .* of naver/DUSt3R_ViTLarge'):
        load('dust3r_512_dpt', ModelOptions())
    with pytest.raises(ConfigError, match='input_size is 15; the minimum is 16'):
        load('dust3r_512_dpt', ModelOptions(weights=tmp_path, input_size=15))
    assert {p.variant for p in PRESETS.values() if p.family == 'dust3r'} == set(LAYOUTS)
