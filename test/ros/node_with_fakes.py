# SPDX-License-Identifier: Apache-2.0
"""depth_node with presets that misbehave on purpose; real in everything else."""

import sys
import time
import types
from dataclasses import dataclass

import torch

from depth_ros import models
from depth_ros.data import Kind, Prediction
from depth_ros.models import PRESETS, Preset


@dataclass
class Fake:
    variant: str
    kind: Kind
    calls: int = 0

    def __post_init__(self):
        if self.variant == 'big':
            self.weights = torch.ones(64 << 20)  # 256 MB

    def predict(self, frame):
        self.calls += 1
        size = frame.camera.size
        # red in 0..255 is the depth in decimetres: what comes out tells which frame went in
        values = frame.rgb[..., 0].to(torch.float32) / 10 + 0.5
        confidence = sky = focal_px = None
        if self.variant.startswith('slow'):
            time.sleep(float(self.variant.removeprefix('slow')))
        elif self.variant == 'late_nan' and self.calls > 1:
            values = torch.full(size, torch.nan)
        elif self.variant == 'late_empty' and self.calls > 1:
            values = torch.zeros(0)
        elif self.variant == 'late_crash' and self.calls == 3:
            raise RuntimeError('CUDA error: an illegal memory access was encountered')
        elif self.variant == 'always_nan':
            values = torch.full(size, torch.nan)
        elif self.variant == 'holes':  # a NaN row, a zero row, a sky row, an infinite row
            values[0], values[1], values[3] = torch.nan, 0.0, torch.inf
            sky = torch.zeros(size, dtype=torch.bool)
            sky[2] = True
        elif self.variant == 'confident':
            confidence = frame.rgb[..., 1].to(torch.float32)
        if self.kind is Kind.CANONICAL:
            focal_px = (300.0, 300.0)
        return Prediction(values, self.kind, focal_px, confidence, sky)


def load(preset, options):
    return Fake(preset.variant, preset.kind)


def register():
    """Put the fakes into the table."""
    module = types.ModuleType('depth_ros.models.fake')
    module.load = load
    sys.modules[module.__name__] = module
    for variant in (
        'red', 'slow0.1', 'slow2', 'late_nan', 'late_empty', 'late_crash', 'always_nan', 'holes',
        'confident', 'big',
    ):  # fmt: skip
        PRESETS[f'fake_{variant}'] = Preset(
            'fake', variant, Kind.METRIC, 'none', '', needs_weights=False, casts=False
        )
    for kind in Kind:
        PRESETS[f'fake_{kind.value}'] = Preset(
            'fake', 'red', kind, 'none', '', needs_weights=False, casts=False
        )


if __name__ == '__main__':
    register()
    assert models.PRESETS is PRESETS
    from depth_ros.ros.node import main

    main()
