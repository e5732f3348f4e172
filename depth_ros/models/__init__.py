# SPDX-License-Identifier: Apache-2.0
"""The table of presets, and the door to the families.

A family is a folder with three doors: `__init__.py` (load, preprocessing, meaning of the output),
`network.py` (the layers) and `checkpoint.py` (published names -> ours). To add one: its folder, its
rows here, and a YAML of differences in config/models; the contract test walks this table.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

import torch

from depth_ros.data import Frame, Kind, Prediction
from depth_ros.errors import ConfigError
from depth_ros.settings import Onnx


class DepthModel(Protocol):
    """What a family returns from `load`."""

    kind: Kind

    def predict(self, frame: Frame) -> Prediction:
        """Depth, in the model's own unit, for every pixel of an undistorted frame."""
        ...


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What a family needs besides its preset.

    Args:
        weights: the checkpoint file; None for families without one.
        device: where to infer.
        dtype: arithmetic of the network.
        threads: CPU threads.
        input_size: side the input is scaled to [px]; 0 takes the preset's.
        max_tokens: cap on transformer patches.
        onnx: description of the network, family `onnx` only.
    """

    weights: Path | None = None
    device: torch.device = field(default_factory=lambda: torch.device('cpu'))
    dtype: torch.dtype = torch.float32
    threads: int = 1
    input_size: int = 0
    max_tokens: int = 2500
    onnx: Onnx = field(default_factory=Onnx)


@dataclass(frozen=True, slots=True)
class Preset:
    """One row of the table.

    Args:
        family: folder under depth_ros/models.
        variant: what the family calls it.
        kind: what its output means; None: config/models/<preset>.yaml says (onnx.kind).
        licence: of the weights, as the publisher states it.
        paper: where the network is described.
        repo: hub id of the published weights; '' if there is none.
        file: name of the checkpoint in `repo`.
        sha256: of that file, where known.
        needs_weights: False for presets that are only geometry.
        casts: False if the family does not follow the parameter `precision`.
    """

    family: str
    variant: str
    kind: Kind | None
    licence: str
    paper: str
    repo: str = ''
    file: str = ''
    sha256: str = ''
    needs_weights: bool = True
    casts: bool = True


_DA1 = 'https://arxiv.org/abs/2401.10891'
_DA2 = 'https://arxiv.org/abs/2406.09414'
_DA3 = 'https://arxiv.org/abs/2511.10647'
_NC = 'CC-BY-NC-4.0'
_HYPERSIM = 'depth-anything/Depth-Anything-V2-Metric-Hypersim-'
_VKITTI = 'depth-anything/Depth-Anything-V2-Metric-VKITTI-'
# The cards of the metric version 2 models say Apache-2.0 for every size, while the teacher's weights
# and Virtual KITTI 2 are non-commercial: only what the card says is repeated here, with the doubt.
_CARD = 'Apache-2.0 (model card; training data and teacher have other terms)'


def _row(
    variant: str, kind: Kind, licence: str, paper: str, repo: str, file: str, sha256: str = ''
) -> Preset:
    return Preset('depth_anything', variant, kind, licence, paper, repo, file, sha256)


#: name -> preset
PRESETS: dict[str, Preset] = {
    'depth_anything_v1_small': _row('v1_vits', Kind.AFFINE_INVERSE, 'Apache-2.0', _DA1, 'LiheYoung/depth_anything_vits14', 'pytorch_model.bin'),
    'depth_anything_v1_base': _row('v1_vitb', Kind.AFFINE_INVERSE, 'Apache-2.0', _DA1, 'LiheYoung/depth_anything_vitb14', 'pytorch_model.bin'),
    'depth_anything_v1_large': _row('v1_vitl', Kind.AFFINE_INVERSE, 'Apache-2.0', _DA1, 'LiheYoung/depth_anything_vitl14', 'pytorch_model.bin'),
    'depth_anything_v2_small': _row('v2_vits', Kind.AFFINE_INVERSE, 'Apache-2.0', _DA2, 'depth-anything/Depth-Anything-V2-Small', 'depth_anything_v2_vits.pth', '715fade13be8f229f8a70cc02066f656f2423a59effd0579197bbf57860e1378'),
    'depth_anything_v2_base': _row('v2_vitb', Kind.AFFINE_INVERSE, _NC, _DA2, 'depth-anything/Depth-Anything-V2-Base', 'depth_anything_v2_vitb.pth'),
    'depth_anything_v2_large': _row('v2_vitl', Kind.AFFINE_INVERSE, _NC, _DA2, 'depth-anything/Depth-Anything-V2-Large', 'depth_anything_v2_vitl.pth'),
    'depth_anything_v2_metric_indoor_small': _row('v2_metric20_vits', Kind.METRIC, _CARD, _DA2, _HYPERSIM + 'Small', 'depth_anything_v2_metric_hypersim_vits.pth'),
    'depth_anything_v2_metric_indoor_base': _row('v2_metric20_vitb', Kind.METRIC, _CARD, _DA2, _HYPERSIM + 'Base', 'depth_anything_v2_metric_hypersim_vitb.pth'),
    'depth_anything_v2_metric_indoor_large': _row('v2_metric20_vitl', Kind.METRIC, _CARD, _DA2, _HYPERSIM + 'Large', 'depth_anything_v2_metric_hypersim_vitl.pth'),
    'depth_anything_v2_metric_outdoor_small': _row('v2_metric80_vits', Kind.METRIC, _CARD, _DA2, _VKITTI + 'Small', 'depth_anything_v2_metric_vkitti_vits.pth'),
    'depth_anything_v2_metric_outdoor_base': _row('v2_metric80_vitb', Kind.METRIC, _CARD, _DA2, _VKITTI + 'Base', 'depth_anything_v2_metric_vkitti_vitb.pth'),
    'depth_anything_v2_metric_outdoor_large': _row('v2_metric80_vitl', Kind.METRIC, _CARD, _DA2, _VKITTI + 'Large', 'depth_anything_v2_metric_vkitti_vitl.pth'),
    'depth_anything_v3_metric_large': _row('v3_metric_vitl', Kind.CANONICAL, 'Apache-2.0', _DA3, 'depth-anything/DA3METRIC-LARGE', 'model.safetensors'),
    'depth_anything_v3_mono_large': _row('v3_mono_vitl', Kind.SCALE_INVARIANT, 'Apache-2.0', _DA3, 'depth-anything/DA3MONO-LARGE', 'model.safetensors'),
    'onnx': Preset('onnx', 'described', None, 'that of your network', '', casts=False),
    'fastdepth_nyu': Preset('onnx', 'described', None, 'MIT', 'https://arxiv.org/abs/1903.03273', casts=False),
    'flat_wall': Preset('flat', 'wall', Kind.METRIC, 'Apache-2.0', '', needs_weights=False, casts=False),
    'flat_ground': Preset('flat', 'ground', Kind.METRIC, 'Apache-2.0', '', needs_weights=False, casts=False),
}  # fmt: skip


def get(name: str, table: Mapping[str, Preset] | None = None) -> Preset:
    """The preset called `name`.

    Raises:
        ConfigError: there is none; the message lists what there is, the nearest first.
    """
    table = PRESETS if table is None else table
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1)
    hint = f'did you mean {near[0]!r}? ' if near else ''
    raise ConfigError(f'model {name!r} is not a preset; {hint}presets: {", ".join(table)}')


def load(name: str, options: ModelOptions) -> DepthModel:
    """Build the preset's network with its weights; the family's module is imported here, not before.

    Raises:
        ConfigError: unknown preset, or options the family cannot use.
        WeightsError: the checkpoint does not fit.
    """
    preset = get(name)
    model: DepthModel = import_module(f'depth_ros.models.{preset.family}').load(preset, options)
    return model
