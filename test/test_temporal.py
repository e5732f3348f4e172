# SPDX-License-Identifier: Apache-2.0
"""The filter over time: it calms what flickers, and neither delays nor smears what moves."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import FilterSettings, ScalingSettings, Settings
from depth_ros.pipeline.filters import Filters, motion, temporal
from depth_ros.pipeline.filters.temporal import Temporal

CAM = Camera(320, 240, 260.0, 260.0, 158.0, 121.0)
PERIOD_NS = 100_000_000
ON = FilterSettings(temporal=0.6)
nan, inf = torch.nan, torch.inf


def texture(seed):
    noise = np.random.default_rng(seed).normal(0, 1, (600, 800, 3)).astype(np.float32)
    rough = cv2.GaussianBlur(noise, (0, 0), 6)
    return np.uint8(np.clip(128 + 60 * rough / rough.std(), 0, 255))


WALL, BOX, PERSON = texture(1), texture(2), texture(3)
U, V = np.meshgrid(np.arange(CAM.width), np.arange(CAM.height))
X, Y = (U - CAM.cx) / CAM.fx, (V - CAM.cy) / CAM.fy


def view(x=0.0, ahead=0.0, pan=0.0, person=None):
    """Image and exact depth: a wall at 4 m, a box at 2.5 m, and a person at 1.8 m if asked.

    The camera is at `x`, `ahead` [m], turned by `pan` [rad].
    """
    c, s = np.cos(pan), np.sin(pan)
    rays = np.stack((c * X + s, Y, c - s * X))
    rgb, z = np.zeros((*CAM.size, 3), np.uint8), np.full(CAM.size, np.inf)
    boxes = [(4.0, -99, 99, WALL), (2.5, -1.2, -0.5, BOX)]
    if person is not None:
        boxes.append((1.8, person - 0.25, person + 0.25, PERSON))
    for distance, left, right, pattern in boxes:
        scale = (distance - ahead) / rays[2]  # depth of a turned camera is along its own axis
        there = x + scale * rays[0]
        own = there - (person or 0) if pattern is PERSON else there
        u = np.float32((own * 150 + 400) % 799)
        v = np.float32((scale * rays[1] * 150 + 400) % 599)
        hit = (there >= left) & (there <= right) & (scale < z)
        rgb[hit] = cv2.remap(pattern, u, v, cv2.INTER_LINEAR)[hit]
        z[hit] = scale[hit]
    return rgb, z.astype(np.float32)


def run(frames, settings=ON, period_ns=PERIOD_NS):
    """The filtered depth of each (rgb, z)."""
    filter_ = Temporal()
    return [
        filter_(
            torch.from_numpy(z),
            Frame(torch.from_numpy(rgb), CAM, k * period_ns),
            settings,
            ScalingSettings(),
        ).numpy()
        for k, (rgb, z) in enumerate(frames)
    ]


def off(filtered, true):
    return abs(filtered / true - 1)


def test_the_first_frame_and_a_still_scene_stay_as_they_are():
    frames = [view()] * 4
    first, *others = run(frames)
    assert np.array_equal(first, frames[0][1])
    for z in others:
        np.testing.assert_allclose(z, frames[0][1], rtol=2e-3)


def test_the_jitter_of_a_network_is_halved_and_more():
    rng = np.random.default_rng(0)
    rgb, true = view()
    factors = np.exp(rng.normal(0, 0.1, 40))
    out = run([(rgb, (true * f).astype(np.float32)) for f in factors])
    scales = np.log([np.median(z / true) for z in out])
    assert scales[5:].std() <= 0.6 * np.log(factors)[5:].std()
    assert abs(np.diff(scales)).mean() <= 0.4 * abs(np.diff(np.log(factors))).mean()
    assert abs(scales[5:].mean() - np.log(factors)[5:].mean()) < 0.02, 'no bias'


def test_smooth_local_jitter_is_calmed_too():
    rng = np.random.default_rng(1)
    rgb, true = view()
    frames = []
    for _ in range(20):
        coarse = rng.normal(0, 0.04, (4, 5)).astype(np.float32)
        frames.append((rgb, true * np.exp(cv2.resize(coarse, CAM.size[::-1]))))
    out = run(frames)
    before = np.mean([off(z, true).mean() for _, z in frames[5:]])
    assert np.mean([off(z, true).mean() for z in out[5:]]) < 0.65 * before


@pytest.mark.parametrize('motion_of_camera', ['ahead', 'x', 'pan'])
def test_a_camera_that_moves_sees_no_delay(motion_of_camera):
    step = {'ahead': 0.12, 'x': 0.06, 'pan': 0.05}[motion_of_camera]  # 1.2 m/s, 0.6 m/s, 29 deg/s
    frames = [view(**{motion_of_camera: k * step}) for k in range(12)]
    out = run(frames)
    for z, (_, true) in list(zip(out, frames, strict=True))[1:]:
        error = off(z, true)
        assert np.median(error) < 0.01 and np.quantile(error, 0.95) < 0.05
        assert abs(np.median(z / true) - 1) < 0.01


def test_a_person_who_walks_is_not_smeared():
    frames = [view(person=-1 + 0.12 * k) for k in range(15)]  # 1.2 m/s
    out = run(frames)
    for z, (_, true) in zip(out, frames, strict=True):
        error = off(z, true)
        assert error.max() < 0.05 and error.mean() < 0.02
        assert error[true == np.float32(1.8)].max() < 0.05


def test_edges_stay_where_they_are_in_the_newest_frame():
    rng = np.random.default_rng(3)
    frames = [(rgb, z * np.float32(np.exp(rng.normal(0, 0.1)))) for rgb, z in [view()] * 6]
    for z, (_, new) in zip(run(frames), frames, strict=True):
        across = (z / new)[:, 1:] / (z / new)[:, :-1]
        assert abs(across - 1).max() < 0.02, 'one smooth factor'


def test_a_jump_of_the_scale_is_followed_within_a_second():
    rgb, true = view()
    out = run([(rgb, true)] * 5 + [(rgb, true * np.float32(1.3))] * 10)
    assert np.median(out[5] / true) < 1.15
    assert abs(np.median(out[-1] / true) / 1.3 - 1) < 0.01


def test_another_scene_starts_again():
    rgb, z = view()
    other = np.ascontiguousarray(rgb[::-1, ::-1])
    out = run([(rgb, z), (rgb, z), (other, z * np.float32(1.2))])
    assert np.array_equal(out[-1], z * np.float32(1.2))


@pytest.mark.parametrize('change', ['time', 'gap', 'camera', 'scaling', 'nothing'])
def test_what_starts_again(change):
    rgb, z = view()
    filter_, camera, scaling, stamp_ns = Temporal(), CAM, ScalingSettings(), 10**10 + PERIOD_NS
    filter_(torch.from_numpy(z), Frame(torch.from_numpy(rgb), CAM, 10**10), ON, scaling)
    if change == 'time':
        stamp_ns = 0
    if change == 'gap':
        stamp_ns += temporal.GAP_NS
    if change == 'camera':
        camera = dataclasses.replace(CAM, fx=200.0)
    if change == 'scaling':
        scaling = ScalingSettings(scale=1.1)
    new = z * np.float32(1.1)
    frame = Frame(torch.from_numpy(rgb), camera, stamp_ns)
    out = filter_(torch.from_numpy(new), frame, ON, scaling).numpy()
    assert np.array_equal(out, new) == (change != 'nothing')


def test_a_known_motion_is_used():
    blank = np.full((*CAM.size, 3), 90, np.uint8)  # images tell nothing
    steps = [view(ahead=0.15 * k)[1] for k in range(6)]
    for known in (True, False):
        filter_ = Temporal()
        for k, true in enumerate(steps):
            T = np.eye(4)
            T[2, 3] = 0.15 * k
            pose = T if known else None
            frame = Frame(torch.from_numpy(blank), CAM, k * PERIOD_NS, T_odom_camera=pose)
            z = filter_(torch.from_numpy(true), frame, ON, ScalingSettings()).numpy()
        late = np.median(z / true) - 1
        assert abs(late) < 0.005 if known else late > 0.04


def test_what_is_not_finite_stays():
    rgb, z = view()
    marked = z.copy()
    marked[:40], marked[50:60, 20:90], marked[200, ::3] = np.inf, np.nan, -np.inf
    for out in run([(rgb, z), (rgb, marked), (rgb, marked)])[1:]:
        finite = np.isfinite(marked)
        assert np.array_equal(np.isfinite(out), finite)
        assert np.array_equal(out[~finite], marked[~finite], equal_nan=True)
    out = run([(rgb, marked), (rgb, z)])[1]
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out, z, rtol=2e-3)


def test_a_camera_without_any_depth_does_no_harm():
    rgb, z = view()
    nothing = np.full_like(z, np.nan)
    out = run([(rgb, nothing), (rgb, nothing), (rgb, z), (rgb, z)])
    assert np.isnan(out[1]).all()
    np.testing.assert_allclose(out[3], z, rtol=2e-3)


@pytest.mark.parametrize('size', [(1, 1), (2, 3), (7, 200)])
def test_images_of_any_size_pass(size):
    camera = Camera(size[1], size[0], 30.0, 30.0, 1.0, 1.0)
    filter_ = Temporal()
    for k in (0, 1):
        rgb = torch.full((*size, 3), 80, dtype=torch.uint8)
        z = filter_(torch.ones(size), Frame(rgb, camera, k), ON, ScalingSettings())
        torch.testing.assert_close(z, torch.ones(size))


# Holding depth


@pytest.mark.parametrize('frames', [0, 2])
def test_a_hole_keeps_its_depth_for_some_frames(frames):
    rgb, z = view()
    hole = z.copy()
    hole[100:110, 200:230] = np.nan
    hole[10:20, 10:20] = np.inf  # the sky is not unknown
    out = run([(rgb, z)] + [(rgb, hole)] * 3, FilterSettings(temporal_hold=frames))
    for k, filtered in enumerate(out[1:], 1):
        inside = filtered[100:110, 200:230]
        if k <= frames:
            np.testing.assert_allclose(inside, 4.0, rtol=1e-3)
        else:
            assert np.isnan(inside).all()
        assert (filtered[10:20, 10:20] == np.inf).all()


def test_a_hole_gets_the_depth_of_its_place_in_the_scene():
    frames = [view(pan=0.04 * k, ahead=0.1 * k) for k in range(4)]
    rgb, true = frames[-1]
    hole = true.copy()
    hole[80:140, 60:250] = np.nan  # with the edge of the box
    out = run([*frames[:-1], (rgb, hole)], FilterSettings(temporal=0.6, temporal_hold=1))[-1]
    inside = out[80:140, 60:250]
    error = off(inside, true[80:140, 60:250])
    assert np.isfinite(inside).mean() > 0.7
    assert np.nanmedian(error) < 0.02 and np.nanquantile(error, 0.9) < 0.03


# The path of a GPU


def on_torch(value):
    """The same with tensors instead of arrays."""
    if isinstance(value, (np.ndarray, np.floating)):
        return torch.from_numpy(np.asarray(value))
    if isinstance(value, (list, tuple)):
        return type(value)(map(on_torch, value))
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        keep = ('size', 'focal', 'centre', 'camera', 'scaling', 'stamp_ns')
        return type(value)(**{k: v if k in keep else on_torch(v) for k, v in fields.items()})
    return value


@pytest.mark.parametrize('holes', [False, True])
def test_cpu_and_gpu_paths_filter_the_same(holes, monkeypatch):
    monkeypatch.setattr(motion, 'STEPS', 8)  # until both have converged
    cameras = motion.small_cameras(CAM, 'cpu')
    (rgb, z), (rgb_new, z_new) = view(), view(ahead=0.1, pan=0.02, person=0.3)
    z_new = z_new * np.float32(1.08)
    if holes:
        z[30:60, 30:60], z_new[90:120, 90:150] = np.nan, np.nan
    images, images_new = (
        motion.small_images(torch.from_numpy(i), cameras) for i in (rgb, rgb_new)
    )
    cells, cells_new = (motion.sampled(a, cameras[0].size) for a in (z, z_new))
    template = motion.template(images, cells, cameras)
    moved = motion.motion_since(template, images_new)
    assert not np.allclose(moved.t, 0, atol=0.05)
    tensors = on_torch(template)
    again = motion.template(on_torch(images), on_torch(cells), on_torch(cameras))
    for a, b in zip(tensors.jacobians, again.jacobians, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    for camera, other in zip(motion.small_cameras(CAM, 'cpu:0'), on_torch(cameras), strict=True):
        torch.testing.assert_close(camera.x, other.x)
    by_torch = motion.motion_since(tensors, on_torch(images_new))
    # OpenCV interpolates with weights of 1/32
    np.testing.assert_allclose(by_torch.R, moved.R, atol=1e-3)
    np.testing.assert_allclose(by_torch.t, moved.t, atol=5e-3)
    before = temporal._Memory(
        0,
        CAM,
        ScalingSettings(),
        template,
        cells,
        np.float32(0.02),
        z,
        np.zeros(z.shape, np.uint8),
    )
    places = temporal._moved(before, cells_new, images_new[0], moved)
    places_t = temporal._moved(
        on_torch(before), on_torch(cells_new), on_torch(images_new[0]), on_torch(moved)
    )
    field = temporal._field(before, cells_new, places, ON)
    field_t = temporal._field(on_torch(before), on_torch(cells_new), places_t, ON)
    assert (abs(field_t.numpy() - field) > 1e-3).mean() < 0.02, 'some cells change sides'
    out = temporal._multiplied(z_new, np.exp(field))
    out_t = temporal._multiplied(on_torch(z_new), on_torch(np.exp(field)))
    np.testing.assert_allclose(out_t, out, rtol=1e-4)
    out, age = temporal._held(out, before, places, 1)
    out_t, age_t = temporal._held(out_t, on_torch(before), on_torch(places), 1)
    np.testing.assert_allclose(out_t, out, rtol=1e-4)
    assert np.array_equal(age_t, age) and (age.any() == holes)


def test_images_are_small_the_same_way_on_a_cpu_and_on_a_gpu():
    rgb = torch.from_numpy(view()[0])
    cameras = motion.small_cameras(CAM, 'cpu')
    coarse = motion.small_images(rgb, cameras)
    area = torch.nn.functional.interpolate(
        rgb.permute(2, 0, 1)[None].float(), cameras[0].size, mode='area'
    )[0]
    area = area.mean(0)
    area = (area - area.mean()) / (area.std() + 1)
    assert abs(coarse[0] - area.numpy()).mean() < 0.15
    assert coarse[0].mean() == pytest.approx(0, abs=1e-4)
    smaller = motion._resized(torch.from_numpy(coarse[0]), cameras[1].size)
    np.testing.assert_allclose(smaller, coarse[1], atol=1e-4)


# Among the other filters


def test_the_range_is_kept_after_the_filter():
    rgb, true = view()
    settings = with_values(Settings(), {'filters.temporal': 0.8, 'range.max': 4.02})
    filters, out = Filters(), []
    for k, factor in enumerate((1.0, 1.004, 0.9, 1.004)):
        z = torch.from_numpy(true * np.float32(factor))
        frame = Frame(torch.from_numpy(rgb), CAM, k * PERIOD_NS)
        out.append(filters(z, Prediction(z, Kind.METRIC), frame, settings)[0].numpy())
    for z in out:
        assert not ((z > 4.02) & np.isfinite(z)).any()


def test_switching_it_off_forgets():
    rgb, true = view()
    filters, frame = Filters(), Frame(torch.from_numpy(rgb), CAM)
    on, off_ = (with_values(Settings(), {'filters.temporal': w}) for w in (0.6, 0.0))
    outs = []
    for factor, settings in ((1.0, on), (1.2, off_), (1.2, on), (1.0, on)):
        z = torch.from_numpy(true * np.float32(factor))
        filtered, _ = filters(z, Prediction(z, Kind.METRIC), frame, settings)
        outs.append(float(filtered[9, 9] / 4))
    assert outs[:3] == pytest.approx([1.0, 1.2, 1.2]) and 1.08 < outs[3] < 1.15
