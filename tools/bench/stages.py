# SPDX-License-Identifier: Apache-2.0
"""Time of each processing stage of a frame, compared with a memcpy of the bytes it produces.

Except for upload and download, every stage is a function of depth_ros, on one thread. A stage and
its memcpy are timed interleaved; publishing is paced at 30 Hz, with a subscriber in another
process. The last row is all stages together, from an image message to a cloud message.
"""

from __future__ import annotations

import array
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch

from depth_ros import models
from depth_ros.core import encode
from depth_ros.core.geometry import undistort
from depth_ros.core.types import DepthMap, Frame
from depth_ros.messages.images import to_rgb
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.device import DTYPES, choose_precision
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph
from depth_ros.pipeline.trial_frame import trial_frame
from tools.bench.lenses import LENSES
from tools.bench.options import Options
from tools.bench.timing import Call, Copier, stage_row, synchronizer, time_interleaved

BUDGET_S = 0.4  #: for timing a stage
#: encoding -> bytes per pixel
ENCODINGS = {'rgb8': 3, 'bgr8': 3, 'yuv422_yuy2': 2, 'bayer_rggb8': 1}
HOLES = 0.2  #: fraction of pixels without depth
#: networks with which all stages together are timed
WHOLE = {
    'cpu': ('nano',),
    'cuda': ('nano', 'depth_anything_v3_metric_large', 'depth_anything_v2_small', 'depth_pro'),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage to time.

    Args:
        name: in the table.
        size: of its result [bytes]; 0 if a comparison with a copy is not useful.
        call: runs the stage.
        on_host: the stage runs on the CPU, even if the network does not.
    """

    name: str
    size: int
    call: Call
    on_host: bool = False


def run(options: Options) -> dict[str, Any]:
    """Measure rows of stage x size."""
    device = options.torch_device
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)  # as `build` does
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    for width, height in options.sizes:
        frame = trial_frame(device, width, height)
        with torch.inference_mode():
            for stage in (*before(frame, device), *inference(frame, device), *after(frame)):
                rows.append(row(stage, width, height, device))
                print(rows[-1], flush=True)
        try:
            from tools.bench import messages  # needs rclpy
        except ImportError as error:
            left_out = [f'messages and publishing: {error}']
            continue
        rows += messages.rows(depth_with_holes(frame), width, height)
        for found in rows[-6:]:
            print(found, flush=True)
        for preset in options.presets or WHOLE[device.type]:
            rows.append(messages.whole(frame, preset, options))
            print(rows[-1], flush=True)
    return {
        'method': f'medians, {options.threads} thread; {100 * HOLES:.0f} % of the depth unknown',
        'rows': rows,
        'left_out': left_out,
    }


def row(stage: Stage, width: int, height: int, device: torch.device) -> dict[str, Any]:
    """Time a stage and the memcpy of its bytes."""
    location = torch.device('cpu') if stage.on_host else device
    calls = {'stage': stage.call}
    if stage.size:
        calls['memcpy'] = Copier(stage.size, location)
    times = time_interleaved(calls, budget_s=BUDGET_S, wait=synchronizer(device))
    return stage_row(stage.name, width, height, stage.size, times)


def before(frame: Frame, device: torch.device) -> Iterator[Stage]:
    """Stages before inference: decoding, upload, undistortion."""
    height, width = frame.camera.size
    for encoding, channels in ENCODINGS.items():
        message = image(frame, encoding, channels)
        size = 0 if encoding == 'rgb8' else 3 * width * height  # rgb8 is not copied
        yield Stage(f'decode {encoding}', size, lambda m=message: to_rgb(m), on_host=True)
    if device.type == 'cuda':
        host = frame.rgb.cpu()
        pinned, uploaded = host.pin_memory(), torch.empty_like(frame.rgb)
        yield Stage('upload', host.numel(), lambda: host.to(device))
        yield Stage(
            'upload, pinned', host.numel(), lambda: uploaded.copy_(pinned, non_blocking=True)
        )
    for model, coefficients in LENSES.items():
        lens = dataclasses.replace(frame.camera, distortion_model=model, distortion=coefficients)
        raw = Frame(frame.rgb, lens)
        yield Stage(f'undistort {model}', frame.rgb.numel(), lambda raw=raw: undistort(raw))


def inference(frame: Frame, device: torch.device) -> Iterator[Stage]:
    """Stages of inference: resizing, networks (a constant and `nano`), scaling."""
    wall = models.load('flat_wall', ModelOptions(device=device))
    precision = choose_precision('auto', device, PRESETS['nano'])
    options = ModelOptions(
        weights=PRESETS['nano'].source.packaged, device=device, dtype=DTYPES[precision]
    )
    nano: Any = models.load('nano', options)
    pipeline = Pipeline(nano, Settings(model='nano'), device)
    use_cuda_graph(nano, device)
    network = nano.engine or nano.network
    x, prediction = nano.network_input(frame)[None], nano.predict(frame)
    depth_bytes = 4 * frame.rgb[..., 0].numel()
    yield Stage('network: constant', depth_bytes, lambda: wall.predict(frame))
    yield Stage('resize (for nano)', x.numel() * x.element_size(),
                lambda: nano.network_input(frame))  # fmt: skip
    yield Stage(f'network: nano, {precision}', 0, lambda: network(x))
    yield Stage('resize, nano and back', 0, lambda: nano.predict(frame))
    yield Stage(
        'scaling and range',
        depth_bytes,
        lambda: pipeline.depth_map(prediction, frame, pipeline.snapshot),
    )


def after(frame: Frame) -> Iterator[Stage]:
    """Stages after inference: contents of messages, on the device, and download."""
    depth = depth_with_holes(frame)
    s, pixels = Settings().colorized, frame.rgb[..., 0].numel()
    for stride in (1, 2):
        points = encode.cloud(depth, stride)
        out = (
            None if points.is_cuda else torch.empty_like(points)
        )  # the message's own, in the node
        size, valid = 4 * points.numel(), 4 * encode.dense(points).numel()
        name = f'cloud, stride {stride}'
        yield Stage(
            f'{name}: organised', size, lambda s=stride, o=out: encode.cloud(depth, s, out=o)
        )
        yield Stage(f'{name}: of it the valid points', valid, lambda p=points: encode.dense(p))
    yield Stage('depth image: millimetres', 2 * pixels, lambda: encode.millimetres(depth.z))
    yield Stage('colours', 3 * pixels,
                lambda: encode.colorize(depth.z, s.min, s.max, s.colormap))  # fmt: skip
    if depth.z.device.type == 'cuda':
        host = torch.empty(depth.z.shape, pin_memory=True)
        yield Stage('download of depth', 4 * pixels, lambda: depth.z.cpu())
        yield Stage('download of depth, pinned', 4 * pixels, lambda: host.copy_(depth.z))


def depth_with_holes(frame: Frame) -> DepthMap:
    """Depth of a slanted wall with a fraction of `HOLES` invalid pixels."""
    height, width = frame.camera.size
    noise = torch.rand(height, width, generator=torch.Generator().manual_seed(0))
    z = torch.linspace(1, 5, width).expand(height, -1).clone()
    z[noise < HOLES] = torch.nan
    return DepthMap(z.to(frame.rgb.device), frame.camera, frame.rgb)


def image(frame: Frame, encoding: str, channels: int) -> Any:
    """A stand-in for an image message, with an `array` as data as in rclpy."""
    height, width = frame.camera.size
    pixels = np.random.default_rng(0).integers(0, 256, height * width * channels, np.uint8)
    return SimpleNamespace(
        width=width,
        height=height,
        encoding=encoding,
        step=width * channels,
        is_bigendian=0,
        data=array.array('B', pixels.tobytes()),
    )
