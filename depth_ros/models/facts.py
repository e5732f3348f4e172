# SPDX-License-Identifier: Apache-2.0
"""What is known of the network of a preset before it runs: its size, work and published accuracy.

`facts.json` is written by `python -m tools.facts`, which counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from depth_ros.core.types import Kind
from depth_ros.models.interface import Preset
from depth_ros.parameters import layers

FILE = Path(__file__).with_name('facts.json')


@dataclass(frozen=True, slots=True)
class Facts:
    """The size of a network.

    Args:
        input: width and height of its input for an image of 640x480 [px].
        parameters: number of them.
        gflop: work for one such image, a multiply-add counts as two.
    """

    input: tuple[int, int]
    parameters: int
    gflop: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What the publisher of the weights measured.

    Args:
        text: figures, with the data sets. Figures of different papers were measured in different
            ways.
        source: address of the paper or page that has them.
    """

    text: str
    source: str


def described_kind(preset: Preset) -> Kind | None:
    """Kind of a preset, from its row or its file in config/models; None if not defined."""
    described = layers.preset_values(preset.name).get('onnx.kind')
    return preset.kind or (Kind(described) if described else None)


@cache
def facts() -> dict[str, Facts]:
    """Preset -> its facts, of those that have a network."""
    values = json.loads(FILE.read_text())
    return {
        name: Facts(tuple(one['input']), one['parameters'], one['gflop'])
        for name, one in values.items()
    }


_V1 = 'https://arxiv.org/abs/2401.10891'
_V2 = 'https://arxiv.org/abs/2406.09414'
_V3 = 'https://arxiv.org/abs/2511.10647'
_MONODEPTH2 = 'https://github.com/nianticlabs/monodepth2'
_RELATIVE = 'AbsRel / delta1 after alignment to the truth: KITTI {} / {}, NYU {} / {}'

#: preset -> accuracy; presets that are missing have no published figures for their weights
PUBLISHED: dict[str, Accuracy] = {
    'depth_anything_v1_small': Accuracy(_RELATIVE.format('0.080', '0.936', '0.053', '0.972'), _V1),
    'depth_anything_v1_base': Accuracy(_RELATIVE.format('0.080', '0.939', '0.046', '0.979'), _V1),
    'depth_anything_v1_large': Accuracy(_RELATIVE.format('0.076', '0.947', '0.043', '0.981'), _V1),
    'depth_anything_v1_metric_indoor_large': Accuracy(
        'trained on NYU, scored there: AbsRel 0.056, delta1 0.984; not trained on SUN RGB-D: '
        '0.500 / 0.660, iBims-1: 0.150 / 0.714',
        _V1,
    ),
    'depth_anything_v1_metric_outdoor_large': Accuracy(
        'trained on KITTI, scored there: AbsRel 0.046, delta1 0.982; not trained on Virtual '
        'KITTI: 0.085 / 0.913, DIODE outdoors: 0.794 / 0.288',
        _V1,
    ),
    'depth_anything_v2_small': Accuracy(_RELATIVE.format('0.078', '0.936', '0.053', '0.973'), _V2),
    'depth_anything_v2_base': Accuracy(_RELATIVE.format('0.078', '0.939', '0.049', '0.976'), _V2),
    'depth_anything_v2_large': Accuracy(_RELATIVE.format('0.074', '0.946', '0.045', '0.979'), _V2),
    'depth_anything_v3_metric_large': Accuracy(
        'AbsRel / delta1 on data sets it was not trained on: NYU 0.070 / 0.963, KITTI 0.086 / '
        '0.953, ETH3D 0.104 / 0.917, SUN RGB-D 0.105 / 0.973',
        _V3,
    ),
    'depth_anything_v3_mono_large': Accuracy(
        'delta1 after alignment to the truth: KITTI 0.971, NYU 0.980, ETH3D 0.988', _V3
    ),
    'depth_pro': Accuracy(
        'AbsRel / delta1 on data sets it was not trained on, as the paper of Depth Anything 3 '
        'measured: NYU 0.093 / 0.932, KITTI 0.121 / 0.843, ETH3D 0.349 / 0.386, SUN RGB-D '
        '0.126 / 0.950',
        _V3,
    ),
    'glpdepth_nyu': Accuracy(
        'trained on NYU, scored there: AbsRel 0.098, delta1 0.915',
        'https://arxiv.org/abs/2201.07436',
    ),
    **{
        f'monodepth2_{name}': Accuracy(
            f'trained on KITTI, scored there: AbsRel {error}, delta1 {delta}', _MONODEPTH2
        )
        for name, error, delta in (
            ('mono_640x192', '0.115', '0.877'),
            ('stereo_640x192', '0.109', '0.864'),
            ('mono_stereo_640x192', '0.106', '0.874'),
            ('mono_1024x320', '0.115', '0.879'),
            ('stereo_1024x320', '0.107', '0.874'),
            ('mono_stereo_1024x320', '0.106', '0.876'),
            ('mono_no_pt_640x192', '0.132', '0.845'),
            ('stereo_no_pt_640x192', '0.130', '0.831'),
            ('mono_stereo_no_pt_640x192', '0.127', '0.836'),
        )
    },
}
