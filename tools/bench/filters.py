# SPDX-License-Identifier: Apache-2.0
"""The filters: what they cost, and what they do to real and simulated depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from depth_ros.core import compress, encode
from depth_ros.core.types import DepthMap, Frame, Kind, Prediction
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import FloorSettings, Points, Settings
from depth_ros.pipeline.filters import Filters, clouds
from depth_ros.pipeline.filters.confidence import certain
from depth_ros.pipeline.filters.edges import without_flying_pixels
from depth_ros.pipeline.filters.free_space import ray_ends
from depth_ros.pipeline.filters.median import smoothed
from depth_ros.pipeline.filters.range import limited
from depth_ros.pipeline.floor import given_floor
from depth_ros.pipeline.trial_frame import trial_frame
from depth_ros.ros.process import malloc
from tools.bench import costmap, costmap_picture, flicker, flying_pixels, stages
from tools.bench.options import Options
from tools.bench.stages import Stage
from tools.train import real

EDGES, WEIGHT = 0.006, 0.6
NAMES = {'filters.edges': EDGES, 'filters.temporal': WEIGHT, 'filters.median': 1}
ALL = {**NAMES, 'min_confidence': 0.1, 'range.max': 20.0}


def run(options: Options) -> dict[str, Any]:
    """Measure times, then the effect of each filter on data."""
    malloc.keep_freed_memory()  # as the node does
    device = options.torch_device
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    times = []
    for width, height in options.sizes:
        with torch.inference_mode():
            for stage in steps(trial_frame(device, width, height)):
                times.append(stages.row(stage, width, height, device))
                print(times[-1], flush=True)
    today = date.today().isoformat()
    part: dict[str, Any] = {
        'method': f'medians, {options.threads} thread, measured {today}',
        'rows': times,
        'left_out': [],
    }
    data = real.data_folder()
    bag = data / 'bags' / flicker.BAG
    for name, rows, needed in (
        ('edges', flying_pixels.rows, data / 'images' / flying_pixels.IMAGE),
        ('temporal', lambda: flicker.rows(bag), bag),
        ('clearing', costmap.rows, Path()),
    ):
        part[name] = []
        if not needed.is_dir():
            part['left_out'].append(f'{name}: there is no {needed.name} in {data}')
            continue
        for row in rows():
            part[name].append(row)
            print(row, flush=True)
    if options.costmap:
        costmap_picture.write(options.costmap)
    return part


def steps(frame: Frame) -> Iterator[Stage]:
    """Each filter alone; all of them in turn, as in the node; and those of clouds."""
    z, confidence = scene(frame)
    pixels = 4 * z.numel()
    for name, step in (
        ('range', lambda: limited(z, 0.1, 20.0)),
        ('confidence', lambda: certain(z, confidence, 0.1)),
        ('median 3x3', lambda: smoothed(z, 1)),
        ('median 5x5', lambda: smoothed(z, 2)),
        ('edges', lambda: without_flying_pixels(z, EDGES)),
        ('temporal', in_turn(frame, {'filters.temporal': WEIGHT})),
        ('temporal, with hold', in_turn(frame, {'filters.temporal': WEIGHT,
                                                'filters.temporal_hold': 2})),
        ('range, confidence, temporal, median 3x3, edges', in_turn(frame, ALL)),
    ):  # fmt: skip
        yield Stage(f'filter: {name}', pixels, step)
    floor = given_floor(FloorSettings(height=1.2))
    depth = DepthMap(z, frame.camera, frame.rgb, floor=floor)
    for stride in (1, 2):
        cloud = encode.dense(encode.cloud(depth, stride))
        for name, points in (
            ('voxel', Points(voxel=0.05)),
            ('voxel with growth', Points(voxel=0.05, voxel_growth=0.02)),
        ):
            kept = clouds.thinning(points)
            assert kept is not None  # with a voxel
            yield Stage(
                f'cloud, stride {stride}: {name}',
                4 * cloud.numel(),
                partial(kept, cloud),
            )
    ground = Points(ground='drop')
    yield Stage('cloud, stride 2: ground', pixels, lambda: clouds.surfaces(depth, ground, 2))
    yield Stage('points_clearing: ends of rays', pixels,
                lambda: ray_ends(z, frame.camera, 10.0))  # fmt: skip
    a, b = compress.quantization(0.1, compress.FAR)
    yield Stage('compressedDepth: 16 bits', pixels // 2,
                lambda: compress.inverse_values(z, a, b))  # fmt: skip
    values = compress.inverse_values(z, a, b).cpu().numpy()
    for form in compress.FORMATS:
        yield Stage(
            f'compressedDepth: {form}',
            values.nbytes,
            lambda f=form: compress.compressed(values, f, a, b),
            on_host=True,
        )


def in_turn(frame: Frame, parameters: dict[str, Any]) -> Callable[[], object]:
    """Filter a frame and the same from a place beside it in turn, as a stream of them."""
    settings = with_values(Settings(), parameters)
    z, confidence = scene(frame)
    rolled = [tensor.roll(3, 1) for tensor in (z, confidence, frame.rgb)]
    pairs = [
        (z, confidence, frame.rgb),
        (rolled[0] * 1.05, rolled[1], rolled[2]),
    ]
    filters, number = Filters(), count()

    def once() -> object:
        k = next(number)
        depth, sure, rgb = pairs[k % 2]
        moment = Frame(rgb, frame.camera, k * 33_000_000)
        prediction = Prediction(depth, Kind.METRIC, confidence=sure)
        return filters(depth, prediction, moment, settings)

    return once


def scene(frame: Frame) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth of a floor, a wall and twelve boxes with blurred edges; and confidence."""
    camera = frame.camera
    rng = np.random.default_rng(0)
    y = (np.arange(camera.height) - camera.cy) / camera.fy
    rows = np.minimum(1.2 / np.maximum(y, 1e-3), 8.0)
    z = np.repeat(rows[:, None], camera.width, 1).astype(np.float32)
    for _ in range(12):
        height, width = camera.height // 4, camera.width // 8
        v, u = rng.integers(0, (camera.height - height, camera.width - width))
        z[v : v + height, u : u + width] = rng.uniform(1, 6)
    z = 1 / cv2.GaussianBlur(1 / z, (0, 0), camera.width / 400)
    device = frame.rgb.device
    confidence = torch.from_numpy(rng.random(z.shape, np.float32))
    confidence[: camera.height // 8] += 1  # a part without holes
    return torch.from_numpy(z).to(device), (confidence + 0.099).to(device)
