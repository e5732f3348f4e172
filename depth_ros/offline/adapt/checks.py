# SPDX-License-Identifier: Apache-2.0
"""What a recording is good for, found by its images and the depth of the network as it is.

Images are moved into others by that depth and the recorded motion. The error of the result depends
on the focal length, as a camera that turns moves all pixels by it, and on the scale of the depth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from depth_ros.offline.adapt.losses import average, photometric
from depth_ros.offline.adapt.scene import Images, enlarged
from depth_ros.offline.adapt.student import Student
from depth_ros.offline.adapt.warp import rays, warp

#: factors on the stated focal length, and on depth, that are compared
FOCAL_FACTORS = tuple(np.exp(np.linspace(math.log(0.8), math.log(1.25), 13)).tolist())
DEPTH_FACTORS = tuple(np.exp(np.linspace(math.log(0.5), math.log(2.0), 9)).tolist())
PAIRS = 2  #: partners of each view that are compared


@dataclass(frozen=True, slots=True)
class Focal:
    """The focal length that fits best.

    Args:
        factor: on the stated focal length.
        errors: of `FOCAL_FACTORS`, each with the best scale of depth.
        still: of images that are not moved.
    """

    factor: float
    errors: tuple[float, ...]
    still: float


@torch.inference_mode()
def find_focal(images: Images, student: Student, partners: Mapping[int, Sequence[int]]) -> Focal:
    """Scan the focal length.

    Args:
        images: with the stated camera.
        student: the network.
        partners: of `views.partners`.
    """
    first, second = _pairs(partners)
    log_z = _log_depth(images, student)
    found = [
        min(_error(images.with_focal(f), log_z + math.log(f * s), first, second)
            for s in DEPTH_FACTORS)
        for f in FOCAL_FACTORS
    ]  # fmt: skip
    still = photometric(images.rgb[first], images.rgb[second]).mean()
    return Focal(_minimum(FOCAL_FACTORS, found), tuple(found), float(still))


def _pairs(partners: Mapping[int, Sequence[int]]) -> tuple[list[int], list[int]]:
    both = [(k, other) for k, others in partners.items() for other in others[:PAIRS]]
    return [k for k, _ in both], [other for _, other in both]


def _log_depth(images: Images, student: Student) -> Tensor:
    """Of all views at the size at which images are compared, (N, H, W)."""
    log_z = student.log_depth(images.inputs(range(len(images))), images.input)
    return enlarged(log_z, images.camera.size)


def _error(images: Images, log_z: Tensor, first: list[int], second: list[int]) -> float:
    """Mean error of the second images, moved into the first."""
    z = log_z[first].exp().flatten(1)
    points = rays(images.camera).to(z.device) * z[:, None]
    T = torch.linalg.inv(images.poses[second]) @ images.poses[first]
    moved = warp(images.rgb[second], images.camera, points, T, images.camera.size)
    return float(average(photometric(images.rgb[first], moved.rgb), moved.seen))


def _minimum(factors: Sequence[float], errors: Sequence[float]) -> float:
    """Factor of the smallest error, between the factors by a parabola through three of them."""
    k = min(max(int(np.argmin(errors)), 1), len(errors) - 2)
    a, b, c = errors[k - 1 : k + 2]
    step = math.log(factors[k] / factors[k - 1])
    bend = a - 2 * b + c
    offset = 0.5 * (a - c) / bend if bend > 0 else 0.0
    return factors[k] * math.exp(step * min(1.0, max(-1.0, offset)))
