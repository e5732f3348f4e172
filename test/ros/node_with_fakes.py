# SPDX-License-Identifier: Apache-2.0
"""depth_node with presets that misbehave on purpose; real in everything else."""

import faulthandler
import os
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from depth_ros import models
from depth_ros.checkpoints.source import Source
from depth_ros.core.camera import Camera
from depth_ros.core.geometry import rays
from depth_ros.core.types import Kind, MultiView, Pose, Prediction
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
        # red in 0..255 is the depth in decimetres: the output identifies the input frame
        values = frame.rgb[..., 0].to(torch.float32) / 10 + 0.5
        confidence = sky = focal_px = normals = None
        if self.variant.startswith('slow'):
            time.sleep(float(self.variant.removeprefix('slow')))
        elif self.variant == 'gated':
            gate = Path(os.environ['GATE'])
            if gate.exists():
                gate.with_suffix('.reached').touch()
            while gate.exists():
                time.sleep(0.002)
        elif self.variant == 'late_slow20' and self.calls > 1:
            time.sleep(20)
        elif self.variant == 'late_nan' and self.calls > 1:
            values = torch.full(size, torch.nan)
        elif self.variant == 'late_empty' and self.calls > 1:
            values = torch.zeros(0)
        elif self.variant == 'late_crash' and self.calls == 3:
            raise RuntimeError('the crash of the third call')
        elif self.variant == 'always_nan':
            values = torch.full(size, torch.nan)
        elif self.variant == 'holes':  # a NaN row, a zero row, a sky row, an infinite row
            values[0], values[1], values[3] = torch.nan, 0.0, torch.inf
            sky = torch.zeros(size, dtype=torch.bool)
            sky[2] = True
        elif self.variant == 'around':  # red is the distance along the ray, not the depth
            x, y = rays(frame.camera, 'cpu')
            values = values / torch.sqrt(1 + x**2 + y**2)
        elif self.variant == 'confident':
            confidence = frame.rgb[..., 1].to(torch.float32)
        elif (
            self.variant == 'normal'
        ):  # towards the camera, as far to the left as the image is red
            across = frame.rgb[..., 0].to(torch.float32) / 300
            down = torch.zeros_like(across)
            normals = torch.stack((-across, down, -(1 - across**2).sqrt()), dim=-1)
            normals[0] = torch.nan
        if self.kind is Kind.CANONICAL:
            focal_px = (300.0, 300.0)
        return Prediction(values, self.kind, focal_px, confidence, sky, normals)


@dataclass
class Narrow(Fake):
    """Has room for one picture at a time."""

    def predict_many(self, frames):
        if len(frames) > 1:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        time.sleep(0.05)  # the other camera's next picture comes meanwhile
        return [self.predict(frame) for frame in frames]


@dataclass
class Eye(Fake):
    """Estimates the camera from the image: focal length = 100 + red of the first pixel [px]."""

    def estimate_camera(self, rgb):
        h, w = rgb.shape[:2]
        f = 100.0 + float(rgb[0, 0, 0])
        return Camera(w, h, f, f, (w - 1) / 2, (h - 1) / 2)


@dataclass
class TwoEyes(Fake):
    """A wall at `WALL_M`, in units of `UNIT_M`; red is how far right the camera stands [cm]."""

    UNIT_M = 0.4
    WALL_M = 2.0
    scale_memory = 10

    def predict(self, frame):
        return Prediction(torch.full(frame.camera.size, self.WALL_M / self.UNIT_M), self.kind)

    def predict_views(self, frames, known=None):
        z = self.predict(frames[0]).values
        x = [float(f.rgb[..., 0].float().mean()) / 100 / self.UNIT_M for f in frames]
        return MultiView(z, torch.ones_like(z), tuple(self.pose(right - x[0]) for right in x[1:]))

    def pose(self, right):
        T = np.eye(4)
        T[0, 3] = right
        covariance = np.diag([1e-4] * 3 + [1e-6] * 3)
        return Pose(T, covariance, inliers=0.9, compared=1000) if right else None


def load(preset, options):
    kind = {'eye': Eye, 'two_eyes': TwoEyes, 'narrow': Narrow}.get(preset.variant, Fake)
    return kind(preset.variant, preset.kind)


def register():
    """Put the fakes into the table."""
    module = types.ModuleType('depth_ros.models.fake')
    module.load = load
    sys.modules[module.__name__] = module
    for variant in (
        'red', 'slow0.1', 'slow2', 'late_slow20', 'late_nan', 'late_empty', 'late_crash',
        'always_nan', 'holes',
        'big', 'narrow', 'gated', 'around',
    ):  # fmt: skip
        add(variant, variant, Kind.METRIC)
    add('confident', 'confident', Kind.METRIC, takes=frozenset({'confidence'}))
    add('normal', 'normal', Kind.METRIC, takes=frozenset({'normals'}))
    add('eye', 'eye', Kind.CANONICAL, estimates_camera=True)
    add('two_eyes', 'two_eyes', Kind.SCALE_INVARIANT, max_views=4)
    for kind in Kind:
        add(kind.value, 'red', kind)


def add(name, variant, kind, **abilities):
    name = f'fake_{name}'
    source = Source(name, 'none', needed=False)
    PRESETS[name] = Preset(name, 'fake', variant, kind, source, casts=False, **abilities)


if __name__ == '__main__':
    faulthandler.enable()
    register()
    assert models.PRESETS is PRESETS
    from depth_ros.ros.node import main
    from depth_ros.ros.process.init import end
    from depth_ros.ros.stream import Stream

    if 'AHEAD' in os.environ:  # a frame is begun before the last one is sent, as on a GPU
        Stream.overlaps_inference = True

    if 'REPORTS_OFTEN' in os.environ:  # /diagnostics tell what became of each image
        from depth_ros.ros import session

        session.TICK_S = session.REPORT_S = 0.01

    if 'GPU_LOST' in os.environ:  # every error is one after which CUDA refuses further work
        from depth_ros.ros import worker

        worker._gpu_is_lost = lambda device: True

    end(main())
