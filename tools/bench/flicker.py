# SPDX-License-Identifier: Apache-2.0
"""How much the filter `temporal` calms a network, on a sequence with poses and measured depth.

The temporal alignment error (TAE) moves the depth of a frame to the next one with the true motion
of the camera and compares it with the depth there; and back. It is the mean relative difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from depth_ros import models
from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.filters import Filters
from depth_ros.pipeline.two_views.poses import pose_from_quaternion

BAG = 'kitchen_7scenes_mcap'
#: of the colour images, and of the depth images, which another camera took 25 mm beside it
COLOR, DEPTH = (Camera(640, 480, f, f, 320.0, 240.0) for f in (525.0, 585.0))
FAR = 8.0  #: depth that is compared [m]
WEIGHTS = (0.0, 0.4, 0.6, 0.8)  #: of `filters.temporal`

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame of the sequence.

    Args:
        frame: image and camera.
        T_world_camera: (4, 4) pose.
        true: (H, W) measured depth [m], NaN where it is unknown.
    """

    frame: Frame
    T_world_camera: Array
    true: Array


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each weight.

    Args:
        folder: of the bag.
    """
    moments = list(sequence(folder))
    weights = PRESETS['nano'].source.packaged
    model = models.load('nano', ModelOptions(weights=weights))
    pipeline = Pipeline(model, Settings(model='nano'))
    predicted = [pipeline(moment.frame).z for moment in moments]
    plain: dict[str, Any] = {}
    for weight in WEIGHTS:
        settings, filters = with_values(Settings(), {'filters.temporal': weight}), Filters()
        depths = [
            filters(z, Prediction(z, Kind.METRIC), moment.frame, settings)[0].numpy()
            for z, moment in zip(predicted, moments, strict=True)
        ]
        row = {
            'temporal': weight,
            'tae_percent': 100 * tae(depths, [m.T_world_camera for m in moments]),
            'abs_rel': abs_rel(depths, [m.true for m in moments]),
        }
        plain = plain or row
        yield {
            **row,
            'tae_ratio': row['tae_percent'] / plain['tae_percent'],
            'abs_rel_ratio': row['abs_rel'] / plain['abs_rel'],
        }


def sequence(folder: Path) -> Iterator[Moment]:
    """The frames of the bag.

    Raises:
        ImportError: rosbags is not installed.
    """
    from rosbags.highlevel import AnyReader

    at: dict[int, dict[str, Any]] = {}
    with AnyReader([folder]) as reader:
        for connection, stamp_ns, data in reader.messages():
            message: Any = reader.deserialize(data, connection.msgtype)
            at.setdefault(stamp_ns, {})[connection.topic] = message
    for stamp_ns, messages in sorted(at.items()):
        image = next(m for topic, m in messages.items() if topic.endswith('compressed'))
        depth = messages['/camera/depth/image_raw']
        pose = messages['/tf'].transforms[0].transform
        t, q = pose.translation, pose.rotation
        bgr = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)
        rgb = torch.from_numpy(np.ascontiguousarray(bgr[..., ::-1]))
        raw = np.frombuffer(depth.data, np.uint16).reshape(depth.height, depth.width)
        true = np.where(raw > 0, raw / 1000, np.nan)
        yield Moment(
            Frame(rgb, COLOR, stamp_ns),
            pose_from_quaternion(t.x, t.y, t.z, q.x, q.y, q.z, q.w),
            registered(true),
        )


def registered(z: Array) -> Array:
    """Depth of the depth camera at the pixels of the colour camera; not moved by the 25 mm."""
    v, u = np.indices(COLOR.size)
    column = np.rint((u - COLOR.cx) / COLOR.fx * DEPTH.fx + DEPTH.cx).astype(int)
    row = np.rint((v - COLOR.cy) / COLOR.fy * DEPTH.fy + DEPTH.cy).astype(int)
    inside = (column >= 0) & (column < z.shape[1]) & (row >= 0) & (row < z.shape[0])
    return np.where(inside, z[row.clip(0, z.shape[0] - 1), column.clip(0, z.shape[1] - 1)], np.nan)


def tae(depths: list[Array], poses: list[Array]) -> float:
    """Mean temporal alignment error of consecutive frames, relative."""
    errors = []
    for k in range(len(depths) - 1):
        for a, b in ((k, k + 1), (k + 1, k)):
            errors.append(_moved(depths[a], depths[b], np.linalg.inv(poses[b]) @ poses[a]))
    return float(np.mean(errors))


def _moved(z: Array, other: Array, T_other_z: Array) -> float:
    """Mean relative difference of the depth `other` and depth `z`, moved there."""
    v, u = np.indices(z.shape)[:, ::2, ::2]
    z = z[::2, ::2]
    known = np.isfinite(z)
    u, v, z = u[known], v[known], z[known]
    x, y = (u - COLOR.cx) / COLOR.fx * z, (v - COLOR.cy) / COLOR.fy * z
    X, Y, Z = (T_other_z @ np.stack((x, y, z, np.ones_like(z))))[:3]
    column = np.rint(X / Z * COLOR.fx + COLOR.cx).astype(int)
    row = np.rint(Y / Z * COLOR.fy + COLOR.cy).astype(int)
    seen = (Z > 0.05) & (column >= 0) & (column < COLOR.width) & (row >= 0) & (row < COLOR.height)
    there = other[row[seen], column[seen]]
    difference = np.abs(Z[seen] - there) / there
    return float(difference[np.isfinite(there)].mean())


def abs_rel(depths: list[Array], true: list[Array]) -> float:
    """Mean over the frames of the mean relative error."""
    errors = []
    for z, measured in zip(depths, true, strict=True):
        compared = (measured < FAR) & np.isfinite(z)
        errors.append(np.mean(np.abs(z[compared] / measured[compared] - 1)))
    return float(np.mean(errors))
