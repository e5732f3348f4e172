# SPDX-License-Identifier: Apache-2.0
"""Whether the depth of a pixel changes as the normal of its surface says.

On a plane 1 / z is a linear function of the ray, n . ray = const / z. So a normal gives the slope
of log depth, whatever its unit. The edge of an object has a step that no surface there explains.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import rays

#: of the slope of depth that the normal must explain. Normals of networks are some degrees off,
#: which at grazing angles is a large part of the slope.
SHARE = 0.5


def slanted_at(
    marks: NDArray[np.bool_],
    z: NDArray[np.float32],
    normals: NDArray[np.float32],
    camera: Camera,
    step: float,
    reach: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Marked pixels that are on a slanted surface; on a CPU.

    Args:
        marks: (H, W), pixels that differ by `step` from their neighbours.
        z: (H, W), depth in any unit.
        normals: (H, W, 3), NaN where there are none.
        camera: of all of these.
        step: relative difference of depth.
        reach: distance of a neighbour [px].

    Returns:
        Rows and columns of those of `marks`, (N,) each.
    """
    v, u = np.nonzero(marks)
    x, y = (ray.numpy().ravel() for ray in rays(camera, 'cpu'))
    n = normals[v, u]
    towards = n[:, 0] * x[u] + n[:, 1] * y[v] + n[:, 2]
    height, width = z.shape
    slanted: Any = np.True_
    with np.errstate(divide='ignore', invalid='ignore'):
        here = np.log(z[v, u])
        for axis, focal in enumerate((camera.fx, camera.fy)):
            dv, du = (0, reach) if axis == 0 else (reach, 0)
            before = np.log(z[np.maximum(v - dv, 0), np.maximum(u - du, 0)])
            after = np.log(z[np.minimum(v + dv, height - 1), np.minimum(u + du, width - 1)])
            expected = -reach / focal * n[:, axis] / towards
            slanted = slanted & _agrees(here - before, after - here, expected, step, np)
    return v[slanted], u[slanted]


def slanted(z: Tensor, normals: Tensor, camera: Camera, step: float, reach: int) -> Tensor:
    """(H, W) bool, as `slanted_at` for all pixels; on a GPU, for which nothing waits."""
    x, y = rays(camera, str(z.device))
    towards = normals[..., 0] * x + normals[..., 1] * y + normals[..., 2]
    log = torch.log(z)
    result = torch.ones_like(z, dtype=torch.bool)
    for axis, focal in enumerate((camera.fx, camera.fy)):
        dim = 1 - axis
        places = torch.arange(z.shape[dim], device=z.device)
        before = log - log.index_select(dim, (places - reach).clamp(min=0))
        after = log.index_select(dim, (places + reach).clamp(max=len(places) - 1)) - log
        expected = -reach / focal * normals[..., axis] / towards
        result &= _agrees(before, after, expected, step, torch)
    return result


def _agrees(before: Any, after: Any, expected: Any, step: float, lib: Any) -> Any:
    """Whether a pixel is not between its neighbours, or as far between as expected."""
    least = math.log1p(step)
    slope = (before + after) / 2
    between = (lib.minimum(before, after) > least) | (lib.maximum(before, after) < -least)
    return ~between | (expected * lib.sign(slope) >= SHARE * abs(slope))
