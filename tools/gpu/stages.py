# SPDX-License-Identifier: Apache-2.0
"""The device path of the node: each stage alone, and all of them together with `nano`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import torch

from depth_ros import models
from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.device import DTYPES, choose_precision
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph
from depth_ros.pipeline.trial_frame import trial_frame
from tools.bench import stages
from tools.bench.stages import Stage
from tools.gpu import device_path
from tools.gpu.worker import Clock, Emit, attempt

BUDGET_S, TINY_S = 0.15, 0.01  #: for timing a stage
FULL = {'points.stride': 1, 'points.organized': True}
#: title -> parameters
PATHS: dict[str, dict[str, Any]] = {
    'all pixels': FULL,
    'valid points, every second pixel': {},
    'filters, all pixels': {**FULL, 'filters.edges': 0.006, 'filters.temporal': 0.6,
                            'filters.median': 1},
    'valid points, voxels': {'points.voxel': 0.05},
}  # fmt: skip


def run(job: dict[str, Any], emit: Emit, clock: Clock) -> None:
    """Emit a row for each stage, and two for each way of all of them."""
    device, tiny = torch.device(job['device']), job['tiny']
    width, height = job['size']
    cv2.setNumThreads(1)  # as `build` does
    stages.BUDGET_S = budget_s = TINY_S if tiny else BUDGET_S
    frame = trial_frame(device, width, height)
    for name, parameters in PATHS.items():
        action = partial(_path, name, parameters, device, frame.camera, budget_s, emit)
        attempt(name, emit, clock, 2.0, action)

    def one(stage: Stage) -> None:
        emit('stages', stages.row(stage, width, height, device))

    def each(found: Callable[[], Iterator[Stage]]) -> None:
        with torch.inference_mode():
            for stage in found():
                attempt(stage.name, emit, clock, 0.0, partial(one, stage))

    for title, found in (
        ('before the network', lambda: stages.before(frame, device)),
        ('the network', lambda: stages.inference(frame, device)),
        ('after the network', lambda: stages.after(frame)),
        ('filters', lambda: _filters(frame)),
    ):
        attempt(title, emit, clock, 0.0, partial(each, found))


def _filters(frame: Frame) -> Iterator[Stage]:
    from tools.bench import filters  # needs Pillow

    return filters.steps(frame)


def _path(
    title: str,
    parameters: dict[str, Any],
    device: torch.device,
    camera: Camera,
    budget_s: float,
    emit: Emit,
) -> None:
    precision = choose_precision('auto', device, PRESETS['nano'])
    weights = PRESETS['nano'].source.packaged
    options = ModelOptions(weights=weights, device=device, dtype=DTYPES[precision])
    model = models.load('nano', options)
    use_cuda_graph(model, device)
    settings = with_values(Settings(model='nano'), parameters)
    path = device_path.DevicePath(model, settings, device, camera)
    for row in device_path.rows(f'nano, {precision}, {title}', path, 2 * budget_s):
        emit('stages', row)
