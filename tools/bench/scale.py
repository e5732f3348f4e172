# SPDX-License-Identifier: Apache-2.0
"""Metres from anchors: how well depth is scaled, how steady it is, and what that costs.

On real pictures with measured depth, of which some pixels are the anchors and the others are
compared. Nothing here was chosen by looking at the truth of the compared pixels.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros import models
from depth_ros.core.types import Anchors, Frame, Kind, Prediction
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.scaling.anchored import AnchoredScale
from depth_ros.pipeline.scaling.fit import fit
from tools.bench.options import Options
from tools.bench.timing import statistics
from tools.train import real

COUNTS = (20, 150, 500)  #: random anchors of a picture
WRONG = 0.3  #: fraction of them that are gross outliers, 0.3 to 3 times the depth
SEEDS = 20
SIGMA = 0.02  #: stated standard deviation of anchors, relative to depth
RING_STEP = 8  #: one LiDAR ring in so many gives anchors
JITTER = 0.1  #: relative change of a network's scale from frame to frame
SECONDS, JUMP_AT_S, JUMP = 12.0, 8.0, 1.3  #: of a sequence, and of the jump in it
REPEATS = 30  #: of what is timed

Array = NDArray[Any]


def run(options: Options) -> dict[str, Any]:
    """Measure all rows."""
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    pictures = list(real.load_images())
    streets = real.data_folder() / 'images' / 'kitti_object_000000'
    left_out = [] if pictures else [f'pictures: none in {real.data_folder()}']
    left_out += [] if streets.is_dir() else ['LiDAR rings: no kitti_object_000000']
    nano = _nano()
    return {
        'method': f'{SEEDS} random seeds, {options.threads} thread',
        'pictures': [name for name, _, _ in pictures],
        'random': random_anchors(nano, pictures) if pictures else [],
        'rings': rings(nano, streets) if streets.is_dir() else [],
        'steady': [row for rate in (30, 10) for row in steadiness(nano, pictures, rate)],
        'times': times(nano, pictures) if pictures else [],
        'left_out': left_out,
    }


def _nano() -> Pipeline:
    weights = PRESETS['nano'].source.packaged
    return Pipeline(models.load('nano', ModelOptions(weights=weights)), Settings(model='nano'))


def anchors_of(z: Array, count: int, rng: np.random.Generator, wrong: float = WRONG) -> Anchors:
    """Random anchors of a measured depth map (H, W) [m], some of them gross outliers."""
    pixels = rng.choice(np.flatnonzero(np.isfinite(z)), count, replace=False)
    v, u = np.divmod(pixels, z.shape[1])
    depth = z.ravel()[pixels].astype(np.float64)
    bad = rng.permutation(count) < round(wrong * count)
    depth *= np.exp(np.where(bad, rng.uniform(np.log(0.3), np.log(3), count), 0))
    return Anchors(u.astype(float), v.astype(float), depth, SIGMA * depth)


def abs_rel(z: Tensor, true: Array, without: Anchors | None = None) -> float:
    """Mean relative error where depth was measured, without the anchors themselves."""
    compared = np.isfinite(true)
    if without is not None:
        compared[without.v.astype(int), without.u.astype(int)] = False
    return float(np.mean(np.abs(z.numpy()[compared] / true[compared] - 1)))


def random_anchors(nano: Pipeline, pictures: list[tuple[str, Frame, Tensor]]) -> list[Any]:
    """Rows of AbsRel on rooms, by number of anchors and highest order."""
    predicted = [(nano(frame).z, frame.rgb, z.numpy()) for _, frame, z in pictures]
    alone = _mean(abs_rel(p, z) for p, _, z in predicted)
    rows = [{'anchors': 0, 'max_order': 'none', 'absrel': alone, 'std': 0.0, 'orders': {}}]
    for count in COUNTS:
        for max_order in ('scale', 'field'):
            means, orders = [], Counter[str]()
            for seed in range(SEEDS):
                errors = []
                for p, rgb, z in predicted:
                    given = anchors_of(z, count, np.random.default_rng(seed))
                    found = fit(p, Kind.METRIC, given, rgb, max_order=max_order)
                    orders[found.order or 'refused'] += 1
                    if found.correction is not None:
                        errors.append(abs_rel(found.correction(p), z, given))
                means.append(_mean(errors))
            rows.append({
                'anchors': count, 'max_order': max_order, 'absrel': float(np.nanmean(means)),
                'std': float(np.nanstd(means)), 'orders': dict(orders),
            })  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def velodyne(folder: Path) -> tuple[Array, Array]:
    """Depth of the projected scan (H, W) [m], NaN elsewhere; and the ring of each pixel."""
    lines = (line.split(':') for line in (folder / 'calib.txt').read_text().splitlines() if line)
    matrices = {name: np.array(values.split(), float) for name, values in lines}
    P, R, T = matrices['P2'].reshape(3, 4), np.eye(4), np.eye(4)
    R[:3, :3] = matrices['R0_rect'].reshape(3, 3)
    T[:3] = matrices['Tr_velo_to_cam'].reshape(3, 4)
    points = np.fromfile(folder / 'velodyne.bin', np.float32).reshape(-1, 4).astype(np.float64)
    # the file has ring after ring, each from 0 to 360 degrees of azimuth
    quarter = np.floor(np.arctan2(points[:, 1], points[:, 0]) / (np.pi / 2)).astype(int) % 4
    ring = np.concatenate([[0], np.cumsum((quarter[:-1] == 3) & (quarter[1:] == 0))])
    points[:, 3] = 1
    seen = points @ (P @ R @ T).T
    height, width = cv2.imread(str(folder / 'rgb.png')).shape[:2]
    z, front = seen[:, 2], seen[:, 2] > 1
    u, v = np.rint(seen[:, :2].T / np.where(front, z, 1)).astype(int)
    inside = front & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    order = np.flatnonzero(inside)[np.argsort(-z[inside])]  # nearer ones are written last
    depth, rings = np.full((height, width), np.nan), np.zeros((height, width), int)
    depth[v[order], u[order]], rings[v[order], u[order]] = z[order], ring[order]
    return depth, rings


def rings(nano: Pipeline, folder: Path) -> list[Any]:
    """Rows of AbsRel on a street whose anchors are a few rings of a LiDAR."""
    ((_, frame, _),) = real.load_images(names=('kitti_object_000000',))
    true, ring = velodyne(folder)
    cases = {
        'nano': (nano(frame).z.numpy(), Kind.METRIC),
        'truth, scale and shift unknown': (1 / (0.7 / true + 0.03), Kind.SCALE_INVARIANT),
        'truth, affine-inverse': (3 / true + 0.4, Kind.AFFINE_INVERSE),
    }
    rows = []
    for name, (values, kind) in cases.items():
        errors, orders = [], Counter[str]()
        predicted = torch.from_numpy(values.astype(np.float32))
        for first in range(RING_STEP):
            chosen = np.isfinite(true) & (ring % RING_STEP == first)
            v, u = np.nonzero(chosen)
            given = Anchors(u.astype(float), v.astype(float), true[chosen], np.full(len(u), 0.02))
            found = fit(predicted, kind, given, frame.rgb)
            orders[found.order or 'refused'] += 1
            if found.correction is not None:
                compared = np.where(chosen, np.nan, true)
                errors.append(abs_rel(found.correction(predicted), compared))
        rows.append({
            'values': name, 'absrel': _mean(errors), 'worst': max(errors, default=np.nan),
            'orders': dict(orders),
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


class Jittering:
    """A network whose scale changes from frame to frame, and once for good."""

    kind = Kind.SCALE_INVARIANT

    def __init__(self, values: Tensor, rate_hz: float, seed: int) -> None:
        self.values = values
        rng = np.random.default_rng(seed)
        t = np.arange(round(SECONDS * rate_hz)) / rate_hz
        jump = np.where(t >= JUMP_AT_S, JUMP, 1.0)
        self.factors = jump * np.exp(rng.normal(0, JITTER, len(t)))

    def predict(self, frame: Frame) -> Prediction:
        """The same picture, times the factor of the frame."""
        values = self.values * float(self.factors[round(frame.stamp_ns * 1e-9 * self.rate_hz)])
        return Prediction(values, self.kind)

    @property
    def rate_hz(self) -> float:
        """Frames in a second."""
        return len(self.factors) / SECONDS


def steadiness(
    nano: Pipeline, pictures: list[tuple[str, Frame, Tensor]], rate_hz: float
) -> list[Any]:
    """Rows of how much the depth of a wall varies, and how long a jump is visible."""
    camera = models.load('flat_wall', ModelOptions())
    scenes: dict[str, tuple[Frame, Tensor, Array]] = {}
    for name, frame, z in pictures:
        if name == 'nyu_raw_00000':
            scenes['nano, nyu_raw_00000'] = (frame, nano(frame).z, z.numpy())
            wall = camera.predict(frame).values
            scenes['a wall'] = (frame, wall, wall.numpy().astype(np.float64))
    rows = []
    for name, (frame, values, true) in scenes.items():
        for where in ('the same pixels', 'random pixels'):
            found = [
                _play(frame, Jittering(values, rate_hz, seed), true, where, seed)
                for seed in range(4)
            ]
            rows.append({
                'scene': name, 'anchors': where, 'rate_hz': rate_hz,
                'std_percent': _mean(f[0] for f in found), 'jump_s': max(f[1] for f in found),
            })  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def _play(
    frame: Frame, network: Jittering, true: Array, where: str, seed: int
) -> tuple[float, float]:
    """Standard deviation [%] of a patch's depth before the jump, and how long it shows [s]."""
    settings = with_values(Settings(), {'scaling.method': 'anchors'})
    pipeline, rng = Pipeline(network, settings), np.random.default_rng(seed)
    found: dict[str, Anchors] = {}
    scale = AnchoredScale(lambda frame, prediction: found)
    every = max(1, round(network.rate_hz / 10))
    pixels = np.random.default_rng(0)
    depths = []
    for k in range(len(network.factors)):
        found.clear()
        if k % every == 0:
            given = anchors_of(
                true, 150, pixels if 'random' in where else np.random.default_rng(0), 0
            )
            noise = np.exp(rng.normal(0, SIGMA, 150))
            wrong = rng.random(150) < WRONG
            noise[wrong] = np.exp(rng.uniform(np.log(0.3), np.log(3), wrong.sum()))
            found['lidar'] = replace(given, z=given.z * noise)
        z = pipeline(replace(frame, stamp_ns=round(k / network.rate_hz * 1e9)), scale=scale).z
        height, width = z.shape
        patch = z[height // 3 : height // 3 + 20, width // 2 : width // 2 + 20]
        depths.append(float(patch.median()))
    t = np.arange(len(depths)) / network.rate_hz
    logs = np.log(depths)
    before = logs[(t > 2) & (t < JUMP_AT_S)]
    # the jump is over where the median of five frames is as before, from then on
    after = np.flatnonzero(t >= JUMP_AT_S)[:-4]
    off = [k for k in after if abs(np.median(logs[k : k + 5]) - before.mean()) > 0.05]
    return 100 * float(before.std()), float(t[off[-1]] - JUMP_AT_S + t[1]) if off else 0.0


def times(nano: Pipeline, pictures: list[tuple[str, Frame, Tensor]]) -> list[Any]:
    """Rows of the time of a fit and of its correction, at 640x480."""
    _, frame, z = next(p for p in pictures if p[1].camera.size == (480, 640))
    predicted = nano(frame).z
    rows = []
    for count in (1, *COUNTS, 5000):
        for max_order in ('scale', 'field'):
            given = anchors_of(z.numpy(), count, np.random.default_rng(0))
            found = fit(predicted, Kind.METRIC, given, frame.rgb, max_order=max_order)
            if found.correction is None or (count == 1 and max_order == 'field'):
                continue
            fitted = _median_ms(
                lambda g=given, o=max_order: fit(predicted, Kind.METRIC, g, frame.rgb, max_order=o)
            )
            applied = _median_ms(lambda c=found.correction: c(predicted))
            rows.append(
                {'anchors': count, 'order': found.order, 'fit_ms': fitted, 'apply_ms': applied}
            )
            print(rows[-1], flush=True)
    return rows


def _median_ms(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return float(statistics(seconds)['median_ms'])


def _mean(values: Any) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else float('nan')
