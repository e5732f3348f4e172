# SPDX-License-Identifier: Apache-2.0
"""What a recording is good for, found by its images and poses and the network as it is.

Images are moved into others by the depth of the network and the recorded motion. The error of the
result depends on the focal length, as a camera that turns moves all pixels by it, on the lens, on
the clock of the poses, and on the scale of the depth.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depth_ros.core.rotations import turn_deg
from depth_ros.offline.adapt.learn import Learner, Options
from depth_ros.offline.adapt.losses import average, photometric
from depth_ros.offline.adapt.scene import Images, enlarged, shrunk
from depth_ros.offline.adapt.student import Student
from depth_ros.offline.adapt.views import View
from depth_ros.offline.adapt.warp import rays, warp

START_M = 2.5  #: typical distance with which a network without metres begins
NEAREST_M, FARTHEST_M = 0.4, 40.0  #: typical distances that are tried for such a network
#: factors on the depth of a network with metres that are compared
DEPTH_FACTORS = tuple(np.exp(np.linspace(math.log(0.4), math.log(2.5), 11)).tolist())
PAIRS = 1  #: partners of each view that are compared
MOST_VIEWS = 60  #: that are compared, evenly spread
LENS_STEPS, LENS_BATCH = 60, 4

LEAST_GAIN = 0.1  #: of the error without motion, by which the motion has to lower it
MOST_FOCAL = 0.04  #: relative difference of the focal length
MOST_TURN_DEG = 3.0  #: from image to image
BLURRED = 0.6  #: sharpness over that of sharp images


@dataclass(frozen=True, slots=True)
class Fit:
    """How well images agree that are moved into each other.

    Args:
        factor: on the depth of the network, with which they agree best.
        moved: photometric error with it.
        still: photometric error of the images as they are.
    """

    factor: float
    moved: float
    still: float

    @property
    def gain(self) -> float:
        """Share of the error that the motion explains; negative where it makes it worse."""
        return 1 - self.moved / self.still if self.still > 0 else 0.0


@dataclass(frozen=True, slots=True)
class LensFit:
    """The lens that fits the images best.

    Args:
        focal: factor on the stated focal length.
        radial: by which the corner of the image is displaced outwards, over its width.
    """

    focal: float
    radial: float


def log_depths(images: Images, student: Student) -> Tensor:
    """Of all views at the size at which images are compared, (N, H, W)."""
    found = []
    with torch.inference_mode():
        for rgb in torch.split(images.rgb, 8):
            log_z = student.log_depth(shrunk(rgb, images.input.size), images.input)
            found.append(enlarged(log_z, images.camera.size))
    return torch.cat(found)


@torch.inference_mode()
def fit(
    images: Images,
    log_z: Tensor,
    partners: Mapping[int, Sequence[int]],
    factors: Sequence[float] = DEPTH_FACTORS,
) -> Fit:
    """Scan the factor on depth.

    Args:
        images: the views.
        log_z: of `log_depths`.
        partners: of `views.partners`.
        factors: that are compared, in equal ratios.
    """
    first, second = _pairs(partners)
    errors = [error_of(images, log_z + math.log(f), first, second) for f in factors]
    factor = _minimum(factors, errors)
    moved = error_of(images, log_z + math.log(factor), first, second)
    still = photometric(images.rgb[first], images.rgb[second]).mean()
    return Fit(factor, min(moved, *errors), float(still))


def factors_between(log_z: Tensor) -> tuple[float, ...]:
    """Factors that make the median of depth `NEAREST_M` to `FARTHEST_M`."""
    median = float(log_z.median().exp())
    return tuple((np.geomspace(NEAREST_M, FARTHEST_M, 24) / median).tolist())


@torch.inference_mode()
def error_of(images: Images, log_z: Tensor, first: list[int], second: list[int]) -> float:
    """Mean photometric error of the second images, moved into the first.

    Args:
        images: the views.
        log_z: (N, H, W) of all of them.
        first: numbers of views.
        second: numbers of as many others.
    """
    errors = [_moved(images, log_z, a, b) for a, b in zip(first, second, strict=True)]
    return float(np.mean(errors))


def _moved(images: Images, log_z: Tensor, first: int, second: int) -> float:
    points = rays(images.camera).to(log_z.device) * log_z[first].exp().flatten()
    T = torch.linalg.inv(images.poses[second]) @ images.poses[first]
    moved = warp(images.rgb[[second]], images.camera, points[None], T[None], images.camera.size)
    return float(average(photometric(images.rgb[[first]], moved.rgb), moved.seen))


def find_lens(
    images: Images,
    partners: Mapping[int, Sequence[int]],
    student: Student,
    options: Options,
) -> LensFit:
    """Focal length and distortion, by a short time of learning in which they are free.

    Args:
        images: with the stated camera.
        partners: of `views.partners`.
        student: the network; it is not changed.
        options: of the learning.
    """
    kept = copy.deepcopy(student.network.state_dict())
    try:
        learner = Learner(images, partners, student, options, finds_lens=True)
        learner.run(options.steps)
    finally:
        student.network.load_state_dict(kept)
    camera = images.camera
    corner = math.hypot(camera.width / 2 / camera.fx, camera.height / 2 / camera.fy)
    radial = float(learner.radial.detach()) * corner**3 * camera.fx / camera.width
    return LensFit(float(learner.log_focal.detach().exp()), radial)


@torch.inference_mode()
def find_offset(
    images: Images,
    log_z: Tensor,
    partners: Mapping[int, Sequence[int]],
    poses_at: Callable[[float], Tensor],
    offsets_s: Sequence[float],
) -> tuple[float, tuple[float, ...]]:
    """Offset between the clocks of poses and images, and the error of each offset.

    Args:
        images: the views.
        log_z: of `log_depths`, with the factor of `fit`.
        partners: of `views.partners`.
        poses_at: offset [s] -> (N, 4, 4), as `Images.poses`, NaN where they are not known.
        offsets_s: that are tried [s], in order.
    """
    first, second = _pairs(partners)
    errors = []
    for offset_s in offsets_s:
        poses = poses_at(offset_s)
        known = poses.isfinite().all(2).all(1)
        usable = [(a, b) for a, b in zip(first, second, strict=True) if known[a] and known[b]]
        if len(usable) < 0.8 * len(first):
            errors.append(math.inf)
            continue
        moved = Images(images.rgb, images.camera, poses, images.input)
        errors.append(error_of(moved, log_z, *map(list, zip(*usable, strict=True))))
    return offsets_s[int(np.argmin(errors))], tuple(errors)


@torch.inference_mode()
def covered(images: Images, log_z: Tensor, views: Sequence[int], by: Sequence[int]) -> float:
    """Share of the pixels of some views whose points at least one of the others sees.

    Args:
        images: the views.
        log_z: (N, H, W) of all of them.
        views: whose pixels count.
        by: views that see them.
    """
    shares = []
    for k in views:
        points = rays(images.camera).to(log_z.device) * log_z[k].exp().flatten()
        T = torch.linalg.inv(images.poses[list(by)]) @ images.poses[k]
        seen = warp(
            images.rgb[list(by)], images.camera, points.expand(len(by), -1, -1), T,
            images.camera.size,
        ).seen  # fmt: skip
        shares.append(float(seen.any(0).float().mean()))
    return float(np.mean(shares)) if shares else math.nan


def sharpness(images: Images) -> Tensor:
    """Of each view, (N,): share of the detail that a blur of 3 x 3 pixels would remove.

    It does not depend on contrast. Source: the idea of Crete et al. 2007, "The blur effect".
    """
    grey = images.rgb.mean(1, keepdim=True)
    blurred = F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode='replicate'), 3, 1)
    detail, left = _detail(grey), _detail(blurred)
    return ((detail - left) / detail.clamp(min=1e-6)).clamp(min=0)


def _detail(grey: Tensor) -> Tensor:
    return grey.diff(dim=2).abs().mean((1, 2, 3)) + grey.diff(dim=3).abs().mean((1, 2, 3))


def turns_deg(views: Sequence[View]) -> list[float]:
    """Angles from image to image [deg]."""
    return [
        turn_deg(a.T_world_camera, b.T_world_camera)
        for a, b in pairwise(views)
        if a.T_world_camera is not None
        and b.T_world_camera is not None
        and a.recording == b.recording
    ]


def _pairs(partners: Mapping[int, Sequence[int]]) -> tuple[list[int], list[int]]:
    both = [(k, other) for k, others in partners.items() for other in others[:PAIRS]]
    step = max(1, len(both) // MOST_VIEWS)
    return [k for k, _ in both[::step]], [other for _, other in both[::step]]


def _minimum(factors: Sequence[float], errors: Sequence[float]) -> float:
    """Factor of the smallest error, between the factors by a parabola through three of them."""
    k = min(max(int(np.argmin(errors)), 1), len(errors) - 2)
    a, b, c = errors[k - 1 : k + 2]
    step = math.log(factors[k] / factors[k - 1])
    bend = a - 2 * b + c
    offset = 0.5 * (a - c) / bend if bend > 0 else 0.0
    return factors[k] * math.exp(step * min(1.0, max(-1.0, offset)))
