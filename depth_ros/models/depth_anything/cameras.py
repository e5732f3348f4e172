# SPDX-License-Identifier: Apache-2.0
"""Version 3 any-view: poses and fields of view of its views, as input and as output.

A camera is encoded in 9 numbers: the position in the world, the quaternion x y z w of its axes
there, and the fields of view along the height and the width [rad].

Source: arXiv 2511.10647.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from depth_ros.core.camera import Camera
from depth_ros.core.rotations import quaternion_from_rotation, rotation_from_quaternion

Array = NDArray[np.float64]

ENCODED = 9
MIN_UNIT = 0.1  # shortest length that becomes 1 in `normalised`
LAYERS, HEADS = 4, 16  # of the encoder, whatever its width


class Float32Module(nn.Module):
    """Layers that stay in float32 where the network is converted to half precision."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def in_float32(t: Tensor) -> Tensor:
            return t.to(fn(t).device, torch.float32)

        return super()._apply(in_float32, recurse)  # type: ignore[no-untyped-call]


class CameraEncoder(Float32Module):
    """Tokens for views whose cameras are known; they take the place of the class token.

    Args:
        width: C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        norm: Any = partial(nn.LayerNorm, eps=1e-5)
        self.branch = nn.Sequential(
            nn.Linear(ENCODED, width // 2), nn.GELU(), nn.Linear(width // 2, width)
        )
        self.token_norm = norm(width)
        self.trunk = nn.Sequential(
            *(
                Block(width, HEADS, qkv_bias=True, init_values=1.0, norm_layer=norm)
                for _ in range(LAYERS)
            )
        )
        self.trunk_norm = norm(width)

    def forward(self, cameras: Tensor) -> Tensor:
        """(V, 9) -> (V, C) float32; each token depends on all cameras."""
        tokens: Tensor = self.trunk_norm(self.trunk(self.token_norm(self.branch(cameras))[None]))
        return tokens[0]


class CameraDecoder(Float32Module):
    """Camera of each view from the token in the place of the class token.

    Args:
        width: C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, 2 * width), nn.ReLU()
        )
        self.position = nn.Linear(2 * width, 3)
        self.quaternion = nn.Linear(2 * width, 4)  # of any length
        self.fields = nn.Sequential(nn.Linear(2 * width, 2), nn.ReLU())

    def forward(self, features: Tensor) -> Tensor:
        """(V, 2 C) -> (V, 9) float32."""
        x = self.layers(features.float())
        return torch.cat((self.position(x), self.quaternion(x), self.fields(x)), dim=1)


def normalised(T_camera_world: Array, *, min_unit: float = MIN_UNIT) -> Array:
    """Known poses as the encoder takes them: from the first camera, in a unit of their own.

    Args:
        T_camera_world: (V, 4, 4) rigid transforms in any unit.
        min_unit: the publishers' rule has `MIN_UNIT`. With 0 the result does not depend on the
            unit: then the distance of two cameras is 1.

    Returns:
        (V, 4, 4). The first is the identity. The unit is the lower median of the distances of all
        cameras from the first one, its own 0 among them, and at least `min_unit`.
    """
    T = np.asarray(T_camera_world, np.float64)
    T = T @ np.linalg.inv(T[0])
    distances = np.sort(np.linalg.norm(T[:, :3, 3], axis=1))  # as |-R^T t| is |t|
    # of two cameras the lower median is always 0
    median = distances[(len(T) - 1) // 2] if len(T) > 2 or min_unit else distances[-1]
    T[:, :3, 3] /= max(median, min_unit) or 1.0
    return T


def encode(T_camera_world: Array, cameras: Sequence[Camera]) -> Tensor:
    """Poses (V, 4, 4) and cameras, of which only the fields of view count -> (V, 9) float32."""
    rows = []
    for T, camera in zip(np.linalg.inv(T_camera_world), cameras, strict=True):
        fields = (
            2 * math.atan(camera.height / (2 * camera.fy)),
            2 * math.atan(camera.width / (2 * camera.fx)),
        )
        rows.append((*T[:3, 3], *quaternion_from_rotation(T[:3, :3]), *fields))
    return torch.tensor(rows, dtype=torch.float32)


def poses_of(encoded: Tensor) -> Array:
    """Encoded cameras (V, 9) -> T_world_camera (V, 4, 4) float64, in the unit of the depth."""
    values = encoded.double().cpu().numpy()
    T = np.tile(np.eye(4), (len(values), 1, 1))
    T[:, :3, 3] = values[:, :3]
    for pose, q in zip(T, values[:, 3:7], strict=True):
        pose[:3, :3] = rotation_from_quaternion(q / max(float(np.linalg.norm(q)), 1e-12))
    return T


def focal_lengths_of(encoded: Tensor, width: int, height: int) -> Array:
    """Encoded cameras (V, 9) -> (V, 2) fx and fy [px] of images of width x height."""
    fields = encoded[:, [8, 7]].double().cpu().numpy()
    half = np.array((width, height)) / 2
    lengths: Array = half / np.maximum(np.tan(fields / 2), 1e-6)
    return lengths
