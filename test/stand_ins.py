# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in the published layouts, with weights from a formula instead of training."""

import functools
import gzip
import json
import re

import pytest
import torch
from formula import tensor
from parity import HERE

VERSIONS = {'v1': 'da1', 'v2': 'da2', 'v3': 'da3'}
SIZES = {'vits': 'small', 'vitb': 'base', 'vitl': 'large'}


@functools.cache
def layouts():
    """Layout -> name -> [shape, type] of all that the published file holds, in its order."""
    return json.loads(gzip.decompress((HERE / 'keys.json.gz').read_bytes()))


def empty(layout):
    """Name -> tensor without content (on the meta device) of a layout."""
    entries = {k: v for k, v in layouts()[layout].items() if v[0] != 'python'}
    return {
        k: torch.empty(shape, dtype=getattr(torch, dtype), device='meta')
        for k, (shape, dtype) in entries.items()
    }


def names_only(layout):
    """Name -> one zero: enough for what is refused before the shapes are compared."""
    return {k: torch.zeros(1) for k in empty(layout)}


def formula(layout, only=''):
    """Name -> tensor of a layout by the formula, of those whose name begins as `only` says."""
    wanted = {k: v for k, v in empty(layout).items() if re.match(only, k)}
    return {k: tensor(k, tuple(v.shape), v.dtype) for k, v in wanted.items()}


def layout_of(preset):
    """Which layout of the published checkpoints the preset's file has."""
    if preset.family == 'monodepth2':
        return 'monodepth2-r50_640x192' if 'resnet50' in preset.variant else 'monodepth2-640x192'
    if preset.family in ('glpdepth', 'depth_pro'):
        return {'glpdepth': 'glp', 'depth_pro': 'depth_pro'}[preset.family]
    if preset.family == 'dust3r':
        return f'dust3r-{preset.variant}'
    if preset.family == 'moge':
        return f'moge2-{preset.variant.replace("_", "-")}'
    version, *role, size = preset.variant.split('_')
    if version == 'v3':
        return f'da3{role[0].removeprefix("any")}-{SIZES[size]}'
    return f'{VERSIONS[version]}{"-metric" if version == "v1" and role else ""}-{size}'


def write_onnx(path):
    """An ONNX network for 224x224 px whose depth is 10 m times the sigmoid of a convolution."""
    onnx = pytest.importorskip('onnx', reason='the package onnx, which writes it, is missing')
    make, floats = onnx.helper, onnx.TensorProto.FLOAT
    weights = {
        'weight': tensor('weight', (1, 3, 5, 5)),
        'bias': tensor('bias', (1,)),
        'metres': torch.tensor([10.0]),
    }
    nodes = [
        make.make_node('Conv', ['image', 'weight', 'bias'], ['map'], pads=[2, 2, 2, 2]),
        make.make_node('Sigmoid', ['map'], ['share']),
        make.make_node('Mul', ['share', 'metres'], ['depth']),
    ]
    graph = make.make_graph(
        nodes,
        'stand-in',
        [make.make_tensor_value_info('image', floats, (1, 3, 224, 224))],
        [make.make_tensor_value_info('depth', floats, (1, 1, 224, 224))],
        [onnx.numpy_helper.from_array(v.numpy(), k) for k, v in weights.items()],
    )
    opset = [make.make_opsetid('', 17)]
    onnx.save(make.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def write_transformers(folder, type_='glpn', seed=0, **values):
    """A network of transformers with few random weights, and its image processor, in `folder`."""
    library = pytest.importorskip('transformers', reason='pip install .[transformers]')
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = library.AutoConfig.for_model(type_, **{**TINY[type_], **values})
        network = library.MODEL_FOR_DEPTH_ESTIMATION_MAPPING[type(config)](config).eval()
        for parameter in network.parameters():  # larger than initial ones, which show little
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter)
        for name, buffer in network.named_buffers():
            if name.endswith('running_var'):  # as after training
                buffer.uniform_(0.5, 2.0)
    network.save_pretrained(folder)
    (folder / 'preprocessor_config.json').write_text(json.dumps(PROCESSORS[type_]))
    return folder / 'model.safetensors'


_DINO = {
    'model_type': 'dinov2', 'hidden_size': 12, 'num_hidden_layers': 4, 'num_attention_heads': 2,
    'image_size': 70, 'patch_size': 14, 'out_features': ['stage1', 'stage2', 'stage3', 'stage4'],
    'apply_layernorm': True, 'reshape_hidden_states': False,
}  # fmt: skip
_BEIT = {
    'model_type': 'beit', 'hidden_size': 12, 'num_hidden_layers': 4, 'num_attention_heads': 2,
    'intermediate_size': 16, 'image_size': 64, 'patch_size': 16, 'reshape_hidden_states': False,
    'use_relative_position_bias': True, 'out_features': ['stage1', 'stage2', 'stage3', 'stage4'],
}  # fmt: skip
_PRO = {
    'model_type': 'dinov2', 'hidden_size': 8, 'num_hidden_layers': 4, 'patch_size': 16,
    'num_attention_heads': 2, 'image_size': 384,
}  # fmt: skip
#: type -> values of a small configuration
TINY = {
    'glpn': {
        'hidden_sizes': [8, 8, 16, 16], 'depths': [1, 1, 1, 1],
        'num_attention_heads': [1, 1, 2, 2], 'decoder_hidden_size': 8,
    },
    'depth_anything': {
        'backbone_config': _DINO, 'reassemble_hidden_size': 12, 'patch_size': 14,
        'neck_hidden_sizes': [8, 8, 8, 8], 'fusion_hidden_size': 8, 'head_hidden_size': 8,
    },
    'zoedepth': {
        'backbone_config': _BEIT, 'reassemble_factors': [4, 2, 1, 0.5],
        'neck_hidden_sizes': [8, 8, 8, 8], 'fusion_hidden_size': 8, 'num_relative_features': 4,
        'bottleneck_features': 8, 'bin_embedding_dim': 8, 'num_attractors': [4, 2, 2, 1],
        'num_patch_transformer_layers': 4, 'patch_transformer_hidden_size': 128,
        'patch_transformer_intermediate_size': 16, 'patch_transformer_num_attention_heads': 2,
        'bin_configurations': [
            {'n_bins': 8, 'min_depth': 0.001, 'max_depth': 10.0, 'name': 'nyu'},
            {'n_bins': 8, 'min_depth': 0.001, 'max_depth': 80.0, 'name': 'kitti'},
        ],
    },
    'depth_pro': {
        'fusion_hidden_size': 8, 'patch_size': 384, 'scaled_images_feature_dims': [8, 8, 8],
        'intermediate_feature_dims': [8, 8], 'intermediate_hook_ids': [3, 1],
        'image_model_config': _PRO, 'patch_model_config': _PRO, 'fov_model_config': _PRO,
    },
    'dpt': {
        'hidden_size': 12, 'num_hidden_layers': 4, 'num_attention_heads': 2,
        'intermediate_size': 16, 'image_size': 64, 'patch_size': 16,
        'backbone_out_indices': [0, 1, 2, 3], 'neck_hidden_sizes': [8, 8, 8, 8],
        'fusion_hidden_size': 8, 'is_hybrid': False,
    },
}  # fmt: skip
_HALF = [0.5, 0.5, 0.5]
PROCESSORS = {
    'glpn': {'image_processor_type': 'GLPNImageProcessor', 'size_divisor': 32, 'do_resize': True},
    'depth_anything': {
        'image_processor_type': 'DPTImageProcessor', 'do_resize': True, 'resample': 3,
        'size': {'height': 70, 'width': 70}, 'keep_aspect_ratio': True, 'ensure_multiple_of': 14,
        'do_rescale': True, 'do_normalize': True,
        'image_mean': [0.485, 0.456, 0.406], 'image_std': [0.229, 0.224, 0.225],
    },
    'zoedepth': {
        'image_processor_type': 'ZoeDepthImageProcessor', 'do_resize': True, 'do_pad': True,
        'size': {'height': 64, 'width': 64}, 'keep_aspect_ratio': True, 'ensure_multiple_of': 16,
        'do_rescale': True, 'do_normalize': True, 'image_mean': _HALF, 'image_std': _HALF,
    },
    'depth_pro': {
        'image_processor_type': 'DepthProImageProcessor', 'do_resize': True, 'resample': 2,
        'size': {'height': 1536, 'width': 1536}, 'do_rescale': True, 'do_normalize': True,
        'image_mean': _HALF, 'image_std': _HALF,
    },
    'dpt': {
        'image_processor_type': 'DPTImageProcessor', 'do_resize': True, 'resample': 3,
        'size': {'height': 64, 'width': 64}, 'do_rescale': True, 'do_normalize': True,
        'image_mean': _HALF, 'image_std': _HALF,
    },
}  # fmt: skip


def write(preset, folder):
    """A file of the preset's published kind in `folder`; what a user sets weights to."""
    if preset.family == 'transformers':
        return write_transformers(folder)
    if preset.family == 'onnx':
        return write_onnx(folder / 'stand-in.onnx')
    layout = layout_of(preset)
    if preset.family == 'monodepth2':
        torch.save(formula(f'{layout}-depth'), folder / 'depth.pth')
        width, height = map(int, preset.variant.rpartition('_')[2].split('x'))
        values = {'width': width, 'height': height, 'use_stereo': 'stereo' in preset.variant}
        torch.save(formula(f'{layout}-encoder') | values, folder / 'encoder.pth')
        return folder / 'encoder.pth'
    state = formula(layout)
    if preset.family == 'depth_pro':  # so it is published
        state = {k: v.half() for k, v in state.items()}
    if preset.family == 'moge':
        state = {'model_config': layouts()[layout]['model_config'][2], 'model': state}
    torch.save(state, folder / 'stand-in.pth')
    return folder / 'stand-in.pth'
