# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in the published layouts, with weights from a formula instead of training."""

import importlib.util
import json

import torch

VERSIONS = {'v1': 'da1', 'v2': 'da2', 'v3': 'da3'}
SIZES = {'vits': 'small', 'vitb': 'base', 'vitl': 'large'}


def layout_of(preset) -> str:
    """Which layout of the published checkpoints the preset's file has."""
    if preset.family == 'monodepth2':
        return 'monodepth2-r50_640x192' if 'resnet50' in preset.variant else 'monodepth2-640x192'
    if preset.family in ('glpdepth', 'depth_pro'):
        return {'glpdepth': 'glp'}.get(preset.family, preset.family)
    if preset.family == 'dust3r':
        return f'dust3r-{preset.variant}'
    version, *role, size = preset.variant.split('_')
    if version == 'v3':
        return f'da3{role[0].removeprefix("any")}-{SIZES[size]}'
    return f'{VERSIONS[version]}{"-metric" if version == "v1" and role else ""}-{size}'


def module_at(path):
    """The module in a file beside this repository."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def formula(shared, layout):
    """Name -> tensor of a layout."""
    module = module_at(shared / 'parity' / 'weights_by_formula.py')
    entries = json.loads((shared / 'keys' / f'{layout}.json').read_text())
    tensors = {k: v for k, v in entries.items() if v[0] != 'python'}
    return {k: torch.from_numpy(module.values(k, *v)) for k, v in tensors.items()}


def write(preset, folder, shared):
    """A file of the preset's published kind in `folder`; what a user sets weights to."""
    layout = layout_of(preset)
    if preset.family == 'monodepth2':
        torch.save(formula(shared, f'{layout}-depth'), folder / 'depth.pth')
        width, height = map(int, preset.variant.rpartition('_')[2].split('x'))
        told = {'width': width, 'height': height, 'use_stereo': 'stereo' in preset.variant}
        torch.save(formula(shared, f'{layout}-encoder') | told, folder / 'encoder.pth')
        return folder / 'encoder.pth'
    state = formula(shared, layout)
    if preset.family == 'depth_pro':  # so it is published
        state = {k: v.half() for k, v in state.items()}
    torch.save(state, folder / 'stand-in.pth')
    return folder / 'stand-in.pth'
