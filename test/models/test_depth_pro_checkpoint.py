# SPDX-License-Identifier: Apache-2.0
"""Depth Pro: both published layouts find their place, and files of something else are refused."""

import re

import pytest
import torch
from safetensors.torch import save_file
from stand_ins import empty, names_only

from depth_ros.checkpoints.families import guess_family
from depth_ros.core.errors import WeightsError
from depth_ros.models import ModelOptions, load
from depth_ros.models.depth_pro.checkpoint import FOV, LAYOUTS, UNUSED, translate
from depth_ros.models.depth_pro.network import DepthPro


@pytest.fixture(scope='module')
def published():
    """The published names with tensors on the meta device."""
    return empty('depth_pro')


# published -> transformers, the other way round than the loader's table
_NECK, _UP = 'depth_pro.neck.', 'depth_pro.neck.feature_upsample.'
TRANSFORMERS = [
    (r'^encoder\.(patch|image)_encoder\.', r'depth_pro.encoder.\1_encoder.model.'),
    (r'^fov\.encoder\.0\.', 'fov_model.fov_encoder.model.'),
    (r'^fov\.encoder\.1', 'fov_model.fov_encoder.neck'),
    (r'^fov\.downsample\.0', 'fov_model.conv'),
    (r'^fov\.head', 'fov_model.head.layers'),
    (r'^encoder\.upsample_latent0', _UP + 'intermediate.1.layers'),
    (r'^encoder\.upsample_latent1', _UP + 'intermediate.0.layers'),
    (r'^encoder\.upsample0', _UP + 'scaled_images.2.layers'),
    (r'^encoder\.upsample1', _UP + 'scaled_images.1.layers'),
    (r'^encoder\.upsample2', _UP + 'scaled_images.0.layers'),
    (r'^encoder\.upsample_lowres', _UP + 'image_block.layers.0'),
    (r'^encoder\.fuse_lowres', _NECK + 'fuse_image_with_low_res'),
    *(
        (rf'^decoder\.convs\.{i}', f'{_NECK}feature_projection.projections.{4 - i}')
        for i in range(5)
    ),
    (r'^decoder\.fusions\.0', 'fusion_stage.final'),
    *((rf'^decoder\.fusions\.{i}', f'fusion_stage.intermediate.{4 - i}') for i in range(1, 5)),
    (r'^head\.', 'head.layers.'),
]
INNER = [  # any of them, after the prefix
    (r'resnet(\d)\.residual\.1', r'residual_layer\1.convolution1'),
    (r'resnet(\d)\.residual\.3', r'residual_layer\1.convolution2'),
    (r'out_conv', 'projection'),
    (r'model\.pos_embed', 'model.embeddings.position_embeddings'),
    (r'model\.cls_token', 'model.embeddings.cls_token'),
    (r'model\.patch_embed\.proj', 'model.embeddings.patch_embeddings.projection'),
    (r'model\.norm', 'model.layernorm'),
    (r'model\.blocks\.(\d+)\.', r'model.encoder.layer.\1.'),
    (r'ls(\d)\.gamma', r'layer_scale\1.lambda1'),
    (r'attn\.proj', 'attention.output.dense'),
]


def as_transformers(state):
    new = {}
    for name, value in state.items():
        for pattern, to in TRANSFORMERS:
            name, hit = re.subn(pattern, to, name)
            if hit:
                break
        for pattern, to in INNER:
            name = re.sub(pattern, to, name)
        if '.attn.qkv.' in name:
            for part, rows in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                new[name.replace('attn.qkv', f'attention.attention.{part}')] = rows
        else:
            new[name] = value
    masks = ('depth_pro.encoder.patch_encoder', 'fov_model.fov_encoder')
    return new | {f'{m}.model.embeddings.mask_token': torch.empty(1, 1024) for m in masks}


@pytest.mark.parametrize('form', ['published', 'transformers'])
@pytest.mark.parametrize('fov', [True, False])
def test_every_published_tensor_is_mapped(published, form, fov):
    state = published if form == 'published' else as_transformers(published)
    with torch.device('meta'):
        want = DepthPro(fov=fov).state_dict()
    have = translate(state, LAYOUTS[guess_family(state)])
    left = {k for k in have if k not in want}
    allowed = UNUSED if fov else (*UNUSED, FOV)
    assert all(any(re.fullmatch(p, k) for p in allowed) for k in left)
    assert {k: have[k].shape for k in want} == {k: v.shape for k, v in want.items()}


def test_transformers_names_mean_the_same_tensors(published):
    """Compared by value, because most shapes occur often."""
    numbered = {
        k: torch.full((3, 1) if '.qkv.' in k else (1,), float(i)) for i, k in enumerate(published)
    }
    rules = LAYOUTS['Depth Pro'], LAYOUTS['Depth Pro (transformers)']
    one, other = translate(numbered, rules[0]), translate(as_transformers(numbered), rules[1])
    assert all(torch.equal(one[k], other[k]) for k in one)
    assert all('mask_token' in k for k in other.keys() - one.keys())


def test_the_names_of_a_state_dict_of_transformers_5_are_known():
    block = 'depth_pro.encoder.patch_encoder.model.encoder.layer.3.attention.'
    state = {f'{block}{x}_proj.bias': torch.ones(2) for x in 'qkvo'}
    renamed = translate(state, LAYOUTS['Depth Pro (transformers)'])
    attention = 'encoder.patch_encoder.blocks.3.attn.'
    assert renamed.keys() == {f'{attention}qkv.bias', f'{attention}proj.bias'}


def test_another_family_is_named(tmp_path):
    path = tmp_path / 'weights.safetensors'
    save_file(names_only('da2-vits'), path)
    with pytest.raises(
        WeightsError, match=r'looks like a Depth Anything v1 or v2 .*depth_pro\.pt'
    ):
        load('depth_pro', ModelOptions(weights=path))


def test_a_fault_in_the_file_is_named(published, tmp_path):
    state = {k: torch.zeros(1) for k in published if k != 'head.4.bias'}
    path = tmp_path / 'weights.safetensors'
    save_file(state, path)
    with pytest.raises(WeightsError, match=r'does not fit the network. 1 missing: head\.4\.bias'):
        load('depth_pro', ModelOptions(weights=path))
