# SPDX-License-Identifier: Apache-2.0
"""What a GPU computes is what the CPU computes, from the bytes of an image to those of a cloud."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from raycast import Oracle, room

from depth_ros import models
from depth_ros.core import encode
from depth_ros.core.camera import Camera
from depth_ros.core.geometry import undistort
from depth_ros.core.types import DepthMap, Frame, Kind, Prediction
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.build import build
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph
from depth_ros.pipeline.filters import Filters
from depth_ros.pipeline.filters.clouds import surfaces
from depth_ros.pipeline.trial_frame import trial_frame
from depth_ros.ros.outputs.message_buffer import MessageBuffer
from tools.bench import random_weights, stages
from tools.bench.lenses import LENSES
from tools.bench.one_network import default_input
from tools.gpu.device_path import DevicePath
from tools.gpu.network import first_map

CPU = torch.device('cpu')
SIZE = (64, 48)
DEVICES = [CPU, pytest.param(torch.device('cuda:0'), marks=pytest.mark.gpu)]
on_each_device = pytest.mark.parametrize('device', DEVICES, ids=str)
#: one of each family; small, as both devices compute in fp32
NETWORKS = ('depth_anything_v2_small', 'depth_anything_v3_small', 'glpdepth_nyu',
            'monodepth2_mono_640x192')  # fmt: skip


def depth_on(device):
    depth = stages.depth_with_holes(trial_frame(CPU, *SIZE))
    z = depth.z.clone()
    z[:4], z[4:6] = torch.inf, -torch.inf
    return DepthMap(z.to(device), depth.camera, depth.rgb.to(device))


def same(given, expected):
    """Equal, NaN where NaN."""
    np.testing.assert_array_equal(given.cpu().numpy(), expected.numpy())


def close(given, expected, relative, strays=0.0):
    """Close where both are finite; where not, of the same kind on all pixels but a fraction."""
    a, b = given.float().cpu(), expected.float()
    finite = torch.isfinite(a) & torch.isfinite(b)
    wrong = finite & ((a - b).abs() > relative * b.abs().clamp(min=1e-3))
    other = ~finite & ~((a == b) | (a.isnan() & b.isnan()))
    assert float((wrong | other).float().mean()) <= strays, (int(wrong.sum()), int(other.sum()))


@on_each_device
@pytest.mark.parametrize('stride', [1, 2, 3])
def test_clouds_have_the_same_bytes(device, stride):
    expected = encode.cloud(depth_on(CPU), stride)
    given = encode.cloud(depth_on(device), stride)
    same(given.view(torch.int32)[..., 3], expected.view(torch.int32)[..., 3])
    same(given[..., :3], expected[..., :3])
    same(encode.dense(given).view(torch.int32), encode.dense(expected).view(torch.int32))


@on_each_device
def test_depth_images_and_colours_are_the_same(device):
    here, there = depth_on(CPU).z, depth_on(device).z
    same(encode.millimetres(there).to(torch.int32), encode.millimetres(here).to(torch.int32))
    colors = [encode.colorize(z, 0.5, 6.0, 'turbo').cpu().int() for z in (there, here)]
    # a level between two colours may be rounded to either
    assert float((colors[0] - colors[1]).abs().max()) <= 16
    assert float((colors[0] != colors[1]).float().mean()) < 0.01


@on_each_device
def test_lenses_are_undistorted_alike(device):
    frame = trial_frame(CPU, *SIZE)
    camera = dataclasses.replace(
        frame.camera, distortion_model='plumb_bob', distortion=LENSES['plumb_bob']
    )
    expected, seen = undistort(Frame(frame.rgb, camera))
    given, seen_there = undistort(Frame(frame.rgb.to(device), camera))
    assert float((given.rgb.cpu().int() - expected.rgb.int()).abs().max()) <= 2
    assert (seen is None) == (seen_there is None)
    if seen is not None:
        assert float((seen_there.cpu() != seen).float().mean()) < 0.01


@on_each_device
def test_a_wide_lens_has_the_same_rays(device):
    f = 240 / math.radians(190)
    camera = Camera(240, 240, f, f, 119.5, 119.5, 'equidistant', (0.0,) * 4)
    wide = {'undistort.projection': 'wide', 'undistort.max_angle': 94.0, 'filters.edges': 0.01}
    floor = {'points.ground': 'drop', 'floor.height': 1.4}
    settings = with_values(Settings(), {**wide, **floor})
    image = trial_frame(CPU, 240, 240).rgb
    found = []
    for on in (CPU, device):
        oracle = Oracle(room, camera, settings.undistort)
        found.append(Pipeline(oracle, settings, on)(Frame(image.to(on), camera)))
    here, there = (depth.lens.ranges.cpu() for depth in found)
    assert float((torch.isfinite(here) != torch.isfinite(there)).float().mean()) < 1e-3
    both = torch.isfinite(here) & torch.isfinite(there)
    assert float((there[both] / here[both] - 1).abs().max()) < 1e-3
    kept = [surfaces(depth, settings.points, 1).lens.ranges.cpu() for depth in found]
    assert float((torch.isnan(kept[0]) != torch.isnan(kept[1])).float().mean()) < 1e-3
    clouds = [encode.cloud(depth).cpu()[both] for depth in found]
    torch.testing.assert_close(clouds[1][:, :3], clouds[0][:, :3], rtol=1e-3, atol=1e-3)


@on_each_device
@pytest.mark.parametrize(
    'parameters',
    [
        {'range.min': 1.2, 'range.max': 4.0},
        {'filters.median': 1},
        {'filters.edges': 0.006},
        {'filters.temporal': 0.6},
        {'filters.temporal': 0.6, 'filters.temporal_hold': 2, 'filters.median': 2},
    ],
    ids=str,
)
def test_filters_agree(device, parameters):
    settings = with_values(Settings(), parameters)
    results = []
    for where in (CPU, device):
        filters, depth = Filters(), depth_on(where)
        for k in range(4):
            z = depth.z.roll(k, 1) * (1 + 0.01 * k)
            frame = Frame(depth.rgb.roll(k, 1), depth.camera, k * 33_000_000)
            out, _ = filters(z, Prediction(z, Kind.METRIC), frame, settings)
        results.append(out)
    close(results[1], results[0].cpu(), 1e-3, strays=0.01)


@on_each_device
def test_a_message_gets_the_bytes_of_tensors_of_changing_sizes(device):
    class Message:
        _data = None

    buffer, noise = MessageBuffer(), torch.Generator().manual_seed(0)
    try:
        for count in (1000, 1000, 300, 300, 5000, 1, 5000):
            values = torch.rand((count, 4), generator=noise)
            on_device, message = values.to(device), Message()
            buffer.copy_from(on_device)
            if device.type == 'cuda':
                torch.cuda.synchronize(device)
            buffer.give_to(message)
            assert bytes(message._data) == values.numpy().tobytes()
    finally:
        buffer.free()


@on_each_device
@pytest.mark.parametrize('organized', [True, False])
@pytest.mark.parametrize('model', ['flat_wall', 'nano'])
def test_a_frame_begun_before_the_last_is_complete_changes_neither(device, model, organized):
    options = ModelOptions(weights=PRESETS[model].source.packaged, device=device)
    frame = trial_frame(CPU, *SIZE)
    messages = [stages.image(frame, 'rgb8', 3) for _ in range(6)]
    for k, message in enumerate(messages):
        message.data = message.data[k * 3 :] + message.data[: k * 3]
    settings = with_values(
        Settings(model=model), {'points.organized': organized, 'points.stride': 1}
    )

    def path():
        loaded = models.load(model, options)
        use_cuda_graph(loaded, device)
        return DevicePath(loaded, settings, device, frame.camera)

    alone = path()
    expected = [bytes(alone(message)) for message in messages]
    assert len(set(expected)) == len(messages)  # of other colours
    overlapping = path()
    assert [bytes(data) for data in overlapping.overlapped(iter(messages))] == expected


@on_each_device
@pytest.mark.parametrize('name', NETWORKS)
def test_networks_agree_in_fp32(device, name):
    here = random_weights.load(name, ModelOptions(exportable=True))
    there = random_weights.load(name, ModelOptions(exportable=True, device=device), like=here)
    inputs = default_input(here, CPU, SIZE)
    with torch.inference_mode():
        expected = first_map(here.network(*inputs))
        given = first_map(there.network(*(x.to(device) for x in inputs)))
    close(given, expected, 1e-2, strays=0.01)  # convolutions of a GPU take TF32


@pytest.mark.gpu
@pytest.mark.parametrize('precision', ['auto', 'fp32', 'bf16'])
def test_a_pipeline_is_built_for_a_gpu(precision):
    settings = Settings(model='nano', device='cuda', engine='torch', precision=precision)
    pipeline, choices = build(settings)
    expected, _ = build(dataclasses.replace(settings, device='cpu', precision='fp32'))
    assert 'cuda:0' in choices.device
    frames = [trial_frame(where, *SIZE) for where in (pipeline.device, CPU)]
    for _ in range(3):  # directly, then as a CUDA graph
        depth, truth = pipeline(frames[0]).z, expected(frames[1]).z
        close(depth, truth, 0.05, strays=0.02)
