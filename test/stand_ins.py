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


def write(preset, folder):
    """A file of the preset's published kind in `folder`; what a user sets weights to."""
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
