# SPDX-License-Identifier: Apache-2.0
"""What `depth-ros adapt` gains on images that it did not learn from, and what it forgets.

`nano` learns from some images of a kitchen and is compared on the others, where their depth was
measured, with the options of the command.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.cli.adapt import MIX
from depth_ros.offline.adapt import checks, outcome
from depth_ros.offline.adapt.examine import paired
from depth_ros.offline.adapt.learn import Learner
from depth_ros.offline.adapt.learn import Options as Learning
from depth_ros.offline.adapt.network import Network
from depth_ros.offline.adapt.run import mixed
from depth_ros.offline.adapt.scene import Images
from depth_ros.offline.adapt.student import Student
from depth_ros.offline.adapt.views import View
from depth_ros.offline.adapt.warp import rotation
from depth_ros.offline.evaluation.scores import score
from tools.bench import flicker
from tools.bench.options import Options
from tools.train import real

NEAR, FAR = 0.3, 8.0  #: depth that is compared [m]
NOISE_DEG, NOISE_M = 0.5, 0.01  #: standard deviation of poses with noise
PERSON_M, PERSON_HALF_M = 1.3, (0.24, 0.85)  #: distance, and half of width and height [m]
STEP_M, WAY_M = 0.12, 1.6  #: of the person, from image to image and before he begins again
MIXES = (MIX, 1.0, 0.5)  #: shares of what was learnt

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Split:
    """Which images are compared; all others are learnt from.

    Args:
        name: of these images.
        compared: whether an image is one of them, by its number of 40.
        has_noise: the poses of the images that are learnt from are changed at random.
        has_person: somebody walks through the images that are learnt from.
    """

    name: str
    compared: Callable[[int], bool]
    has_noise: bool = False
    has_person: bool = False


SPLITS = (
    Split('every 4th image', lambda k: k % 4 == 0),
    Split('every 4th image, poses with noise', lambda k: k % 4 == 0, has_noise=True),
    Split('every 4th image, a person walks', lambda k: k % 4 == 0, has_person=True),
    Split('the first 14 images', lambda k: k < 14),
    Split('the last 14 images', lambda k: k >= 26),
)


def run(options: Options) -> dict[str, Any]:
    """Rows for each split and mix."""
    folder = real.data_folder() / 'bags' / flicker.BAG
    method = f'nano, {options.threads} threads; noise: {NOISE_DEG:g} deg and {100 * NOISE_M:g} cm'
    if not folder.is_dir():
        return {'method': method, 'rows': [], 'left_out': [f'all: there is no {folder}']}
    torch.set_num_threads(options.threads)
    moments = list(flicker.sequence(folder))
    rows = []
    for split in SPLITS:
        for row in measure(split, moments):
            print(row, flush=True)
            rows.append(row)
    return {'method': method, 'rows': rows, 'left_out': []}


def measure(
    split: Split, moments: Sequence[flicker.Moment], learning: Learning | None = None
) -> Iterator[dict[str, Any]]:
    """Learn once; a row for each mix."""
    learning = learning or Learning()
    noise = np.random.default_rng(0)
    views = []
    for k, moment in enumerate(moments):
        if not split.compared(k):
            T = moment.T_world_camera
            T = T @ _random_motion(noise) if split.has_noise else T
            rgb = with_person(moments, k) if split.has_person else moment.frame.rgb
            views.append(View(rgb, moment.frame.camera, T, str(k), 0, k))
    compared = [moment for k, moment in enumerate(moments) if split.compared(k)]
    network = Network.of('nano', device='cpu')
    student, start = network.student(), network.student()
    images = Images.of(views, student, torch.device('cpu'))
    pairs, _, _ = paired(views, images, checks.log_depths(images, student), has_metres=True)
    kept = outcome.rehearsal(images.input, student)
    learner = Learner(images, pairs, student, learning, rehearsal=kept)
    started_s = time.monotonic()
    learner.run(learning.steps)
    seconds = time.monotonic() - started_s
    learnt, before = student.state(), errors(start, compared)
    for mix in MIXES:
        student.network.load_state_dict(mixed(start.state(), learnt, mix))
        synthetic = outcome.synthetic(start, student)
        yield {
            'compared': split.name, 'images': len(compared), 'mix': mix, 'seconds': seconds,
            'before': before, 'after': errors(student, compared),
            'synthetic_before': [synthetic.before.abs_rel, synthetic.before.delta1],
            'synthetic_after': [synthetic.after.abs_rel, synthetic.after.delta1],
        }  # fmt: skip


def errors(student: Student, moments: Sequence[flicker.Moment]) -> list[float]:
    """AbsRel and delta1 in metres, means over images."""
    found = []
    for moment in moments:
        z = outcome.depth(student, moment.frame.rgb, moment.frame.camera)
        one = score(z, moment.true, NEAR, FAR)
        if one is not None:
            found.append((one.errors['metres'].abs_rel, one.errors['metres'].delta1))
    return [float(value) for value in np.mean(found, axis=0)]


def with_person(moments: Sequence[flicker.Moment], k: int) -> Tensor:
    """Image k, (H, W, 3) uint8, behind somebody who is 1.3 m in front of the first camera.

    He walks 0.12 m to the right from image to image, and begins again at 0.8 m to the left. What
    he wears is a part of the first image, upside down.
    """
    frame, first = moments[k].frame, moments[0]
    camera, rgb = frame.camera, frame.rgb.numpy().copy()
    place = np.array((WAY_M * (k * STEP_M / WAY_M % 1 - 0.5), 0.2, PERSON_M, 1.0))
    x, y, z, _ = np.linalg.inv(moments[k].T_world_camera) @ first.T_world_camera @ place
    half = [
        round(f * side / z) for f, side in zip((camera.fx, camera.fy), PERSON_HALF_M, strict=True)
    ]
    at = round(camera.fx * x / z + camera.cx), round(camera.fy * y / z + camera.cy)
    v, u = np.mgrid[-half[1] : half[1], -half[0] : half[0]]
    clothes = first.frame.rgb.numpy()[::-1, : camera.width // 3]
    clothes = cv2.resize(clothes, (2 * half[0], 2 * half[1]))
    shape = (u / half[0]) ** 2 + (v / half[1]) ** 4 < 1
    u, v = u + at[0], v + at[1]
    seen = shape & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    rgb[v[seen], u[seen]] = clothes[seen]
    return torch.from_numpy(rgb)


def _random_motion(noise: np.random.Generator) -> Array:
    """A small T (4, 4): each of its angles and coordinates has the stated deviation."""
    T = np.eye(4)
    turn = noise.normal(0, math.radians(NOISE_DEG), (1, 3))
    T[:3, :3] = rotation(torch.from_numpy(turn).float())[0].numpy()
    T[:3, 3] = noise.normal(0, NOISE_M, 3)
    return T
