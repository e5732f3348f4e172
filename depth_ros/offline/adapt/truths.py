# SPDX-License-Identifier: Apache-2.0
"""Measured depth of views, for the pictures of the report alone: nothing is learnt from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from depth_ros.core.camera import Camera
from depth_ros.core.errors import DepthRosError
from depth_ros.offline.adapt.recording import Recording
from depth_ros.offline.adapt.views import View
from depth_ros.offline.cameras import GivenCamera, find_camera
from depth_ros.offline.evaluation.measured import Depth, Measured
from depth_ros.offline.evaluation.truth import Source
from depth_ros.offline.recorded import Recorded, Selection

Key = tuple[Path, int | str]


def find_truths(
    sources: Iterable[Source],
    recordings: Sequence[Recording],
    views: Sequence[View],
    numbers: Iterable[int],
    given: GivenCamera,
) -> dict[int, Depth]:
    """Measured depth of some views.

    Args:
        sources: inputs with measured depth, as of `depth-ros eval`; others than the recordings
            are not used.
        recordings: that the views are of.
        views: all of them.
        numbers: of those whose depth is wanted.
        given: camera of the user.

    Returns:
        Number of a view -> (H, W) [m] at its pixels, NaN where not measured. Views without a
        measurement are left out.
    """
    wanted: dict[Key, int] = {}
    for number in numbers:
        recording = recordings[views[number].recording]
        shot = recording.shots[views[number].number]
        wanted[_key(recording.path, shot)] = number
    found: dict[int, Depth] = {}
    paths = {path for path, _ in wanted}
    for source in sources:
        if source.path.resolve() not in paths:
            continue
        with suppress(DepthRosError):  # what was read before it is there
            for measured in source.images(Selection()):
                wanted_number = wanted.get(_key(source.path, measured.recorded))
                if wanted_number is None or measured.lacks_s:
                    continue
                with suppress(DepthRosError):
                    found[wanted_number] = _at_view(measured, views[wanted_number], given)
                if len(found) == len(wanted):
                    return found
    return found


def _key(path: Path, shot: Recorded) -> Key:
    """Of an image that two readers name in different ways, by its time where it has one."""
    return path.resolve(), shot.stamp_ns or Path(shot.name).name


def _at_view(measured: Measured, view: View, given: GivenCamera) -> Depth:
    image = measured.recorded.read()
    camera = find_camera(measured.recorded, image, given).camera
    return resampled(measured.truth(camera), camera.undistorted(), view.camera)


def resampled(z: Depth, camera: Camera, view: Camera) -> Depth:
    """Depth at the pixels of another pinhole at the same place; the nearest measurement is taken.

    Args:
        z: (H, W) [m], of `camera`.
        camera: pinhole.
        view: pinhole with the same orientation.
    """
    columns = (np.arange(view.width) - view.cx) / view.fx * camera.fx + camera.cx
    rows = (np.arange(view.height) - view.cy) / view.fy * camera.fy + camera.cy
    u, v = np.rint(columns).astype(int), np.rint(rows).astype(int)
    inside = ((v >= 0) & (v < camera.height))[:, None] & ((u >= 0) & (u < camera.width))
    taken = z[np.ix_(v.clip(0, camera.height - 1), u.clip(0, camera.width - 1))]
    return np.where(inside, taken, np.float32(np.nan))
