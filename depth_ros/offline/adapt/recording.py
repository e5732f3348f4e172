# SPDX-License-Identifier: Apache-2.0
"""Recordings to learn from: their images with cameras and poses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from depth_ros.core.camera import KEEP_VALID, Camera
from depth_ros.core.errors import CameraError, ConfigError, DepthRosError, ImageError
from depth_ros.core.geometry import undistort
from depth_ros.core.lens import pinhole
from depth_ros.core.resample import downscale
from depth_ros.core.types import Frame
from depth_ros.offline.adapt.motion import Motion, chosen, jumps, runs
from depth_ros.offline.adapt.posed import WITHOUT, Options, Source
from depth_ros.offline.adapt.sources import find
from depth_ros.offline.adapt.views import View
from depth_ros.offline.cameras import find_camera
from depth_ros.offline.recorded import Recorded
from depth_ros.pipeline.two_views.poses import Pose4x4

NO_POSE = 'no pose at the time of the image'
OTHER_CAMERA = 'an image of another camera'
TURNED = 'an image is turned by EXIF, and its pose is not'
SAME_PX = 0.5  #: of intrinsics that are the same, as calibrations of the same camera are


@dataclass(frozen=True, slots=True)
class Seen:
    """An image that was read.

    Args:
        number: of the image in its recording.
        rgb: (H, W, 3) uint8, undistorted.
        camera: pinhole.
    """

    number: int
    rgb: Tensor
    camera: Camera


class Recording:
    """A recording with the motion of its camera.

    Args:
        source: its images and poses.
        options: how they are read.
        number: of the recording among others; the worlds of two have nothing in common.

    Attributes:
        motion: of the camera; None without poses.
        skipped: reason -> number of images that are not used.
        doubts: what is possible but unlikely of the camera and its poses, with the remedy.

    Raises:
        ConfigError: there are no poses, or the camera did not move.
    """

    def __init__(self, source: Source, options: Options, number: int = 0) -> None:
        self.source, self.number = source, number
        self._options = options
        self.skipped = Counter(source.skipped)
        self.doubts: set[str] = set()
        self._seen: list[Seen] | None = None
        self.motion: Motion | None = None
        self._poses: dict[int, Pose4x4] = {}
        if options.needs_poses:
            self._poses = self._posed()
            self.motion = Motion.of(list(self._poses.values()))
            self.motion.check(f'{self.path} ({self.layout})')
            stamps_ns = [self.shots[k].stamp_ns for k in self._poses]
            if len(found := jumps(list(self._poses.values()), stamps_ns)):
                self.doubts.add(
                    f'{len(found)} of {len(self._poses) - 1} steps from image to image are jumps, '
                    f'of up to {found.max():.2g} m: poses of odometry have none (--fixed-frame, '
                    '--odometry)'
                )

    @property
    def path(self) -> Path:
        """Of the bag or folder."""
        return self.source.path

    @property
    def name(self) -> str:
        """In reports."""
        return self.source.name

    @property
    def layout(self) -> str:
        """Its kind, and where the poses are from."""
        return self.source.layout

    @property
    def shots(self) -> Sequence[Recorded]:
        """All images in order of time; `View.number` counts them."""
        return self.source.shots

    @property
    def has_times(self) -> bool:
        """Whether poses are known at other times than the images', so that `offset_s` can be."""
        return bool(self.motion and self.source.poses and self.source.poses.has_times)

    def pose(self, number: int, offset_s: float = 0.0) -> Pose4x4 | None:
        """T_world_camera (4, 4) [m] of the optical frame; None where it is not known.

        Args:
            number: of the image.
            offset_s: added to its time: a clock of the poses that is ahead has a positive one [s].

        Raises:
            ConfigError: there is an offset, and the poses have no times.
        """
        if self.source.poses is None or not self._options.needs_poses:
            return None
        return self.source.poses.at(self.shots[number], round(offset_s * 1e9))

    def views(self, offset_s: float = 0.0) -> list[View]:
        """The images that are used, which are read by the first call.

        Args:
            offset_s: of the poses, see `pose`; images without a pose then are left out [s].

        Raises:
            ConfigError: there is an offset, and the poses have no times.
            CameraError: the camera is not known.
            ImageError: no image can be read.
        """
        if self._seen is None:
            self._seen = self._read()
        views = []
        for seen in self._seen:
            T = self.pose(seen.number, offset_s)
            if T is not None or not self._options.needs_poses:
                name = self.shots[seen.number].name
                views.append(View(seen.rgb, seen.camera, T, name, self.number, seen.number))
        return views

    def summary(self) -> list[str]:
        """What was found and used, a line each."""
        used = '' if self._seen is None else f', {len(self._seen)} used'
        lines = [f'{self.name}: {self.layout}, {len(self.shots)} images{used}']
        if self.motion is not None:
            lines.append(f'{self.name}: {self.motion}')
        lines += [f'{self.name}: skipped {n}: {why}' for why, n in sorted(self.skipped.items())]
        return lines + [f'{self.name}: warning: {doubt}' for doubt in sorted(self.doubts)]

    def _posed(self) -> dict[int, Pose4x4]:
        """Pose of each image that has one, by its number, in order of time.

        Raises:
            ConfigError: there are none.
        """
        if self.source.poses is None:
            raise ConfigError(
                f'{self.path} has no poses: {self.source.lacks}; add them, {WITHOUT}'
            )
        stamps = {shot.stamp_ns for shot in self.shots}
        if self.source.poses.has_times and len(self.shots) > 1 == len(stamps):
            raise ConfigError(
                f'{self.path}: all {len(self.shots)} images have the stamp {min(stamps) * 1e-9:g} '
                's, by which their poses are found: use a camera driver that sets header.stamp'
            )
        known = {k: T for k in range(len(self.shots)) if (T := self.pose(k)) is not None}
        if len(known) < len(self.shots):
            self.skipped[NO_POSE] += len(self.shots) - len(known)
        if not known:
            raise ConfigError(f'{self.path}: none of its images has a pose; {self._times()}')
        return known

    def _times(self) -> str:
        """Times of images and poses, and the remedy."""
        assert self.source.poses is not None  # of `_posed`
        span_ns = self.source.poses.span_ns
        if span_ns is None:
            return f'check the files of poses, {WITHOUT}'
        images, poses = (
            f'{a * 1e-9:.3f} to {b * 1e-9:.3f} s'
            for a, b in ((self.shots[0].stamp_ns, self.shots[-1].stamp_ns), span_ns)
        )
        return (
            f'the images are of {images}, the poses of {poses}: stamps must be of one clock, and '
            'poses at most 0.5 s apart'
        )

    def _chosen(self) -> list[int]:
        """Numbers of the images that are used."""
        most = self._options.most
        if self.motion is None:
            return runs(np.arange(len(self.shots), dtype=np.float64), most)
        numbers = list(self._poses)
        found = chosen(list(self._poses.values()), most, self._options.depth_m)
        return [numbers[k] for k in found]

    def _read(self) -> list[Seen]:
        """Decode the images, one after the other.

        Raises:
            CameraError: the camera is not known.
            ImageError: no image can be read.
        """
        seen: list[Seen] = []
        failures: list[DepthRosError] = []
        for number, shot in self.source.read(self._chosen()):
            try:
                one = self._one(number, shot)
            except (ImageError, CameraError) as error:
                failures.append(error)
                continue
            if one is not None:
                seen.append(one)
        if not seen:
            raise failures[0] if failures else ImageError(f'{self.path}: no image can be used')
        if failures:
            self.skipped[f'an image cannot be used; the first: {failures[0]}'] += len(failures)
        return self._of_one_camera(seen)

    def _one(self, number: int, shot: Recorded) -> Seen | None:
        image = shot.read()
        if image.orientation != 1 and self.motion is not None:
            self.skipped[TURNED] += 1
            return None
        found = find_camera(shot, image, self._options.camera)
        self.doubts.update(found.doubts)
        frame = Frame(torch.from_numpy(np.require(image.rgb, requirements='W')), found.camera)
        # every pixel has a source: the edge of an image must not be learnt from
        frame, _ = undistort(frame, pinhole(found.camera, KEEP_VALID))
        width = min(frame.camera.width, self._options.widest)
        height = max(1, round(frame.camera.height * width / frame.camera.width))
        small = downscale(frame.rgb, (height, width)).round().to(torch.uint8)
        return Seen(number, small, frame.camera.resized(width, height))

    def _of_one_camera(self, seen: Sequence[Seen]) -> list[Seen]:
        """Those of the camera that most are of."""
        groups: list[list[Seen]] = []
        for one in seen:
            group = next((g for g in groups if _is_same(g[0].camera, one.camera)), None)
            if group is None:
                groups.append([one])
            else:
                group.append(Seen(one.number, one.rgb, group[0].camera))
        most = max(groups, key=len)
        if others := len(seen) - len(most):
            self.skipped[f'{OTHER_CAMERA} than {most[0].camera}'] += others
        return most


def _is_same(one: Camera, other: Camera) -> bool:
    """Whether two pinholes are of the same camera."""
    return one.size == other.size and all(
        abs(getattr(one, name) - getattr(other, name)) <= SAME_PX
        for name in ('fx', 'fy', 'cx', 'cy')
    )


def open_recording(path: Path, options: Options | None = None, number: int = 0) -> Recording:
    """A bag or a folder.

    Args:
        path: of it.
        options: how it is read.
        number: among several.

    Raises:
        ConfigError: it is no recording with poses, or the camera did not move.
        ImageError: it cannot be read.
    """
    options = options or Options()
    found = find(path, options)
    if len(found) != 1:
        names = ', '.join(str(one.path) for one in found) or 'none'
        raise ConfigError(f'{path} has {len(found)} recordings; give one of: {names}')
    return Recording(found[0], options, number)


def open_recordings(words: Sequence[str], options: Options | None = None) -> list[Recording]:
    """The recordings that a command line names, each once; in a folder, all those below it.

    Raises:
        ConfigError: a word names no recording with poses, or a camera did not move.
        ImageError: one cannot be read.
    """
    options = options or Options()
    sources = {one.path.resolve(): one for word in words for one in find(Path(word), options)}
    names = Counter(source.name for source in sources.values())
    return [
        Recording(source if names[source.name] == 1 else _numbered(source, k), options, k)
        for k, source in enumerate(sources.values())
    ]


def _numbered(source: Source, number: int) -> Source:
    """One of several with the same name."""
    return replace(source, name=f'{source.name} ({number + 1})')


def all_views(recordings: Sequence[Recording], offset_s: float = 0.0) -> list[View]:
    """The views of recordings of one camera, one recording after the other.

    Args:
        recordings: each with its own number.
        offset_s: of their poses [s].

    Raises:
        ConfigError: they are of different cameras, or there are none.
        DepthRosError: as `Recording.views`.
    """
    views: list[View] = []
    for recording in recordings:
        more = recording.views(offset_s)
        if views and more and not _is_same(views[0].camera, more[0].camera):
            raise ConfigError(
                f'{recording.name} is of the camera {more[0].camera}, and {recordings[0].name} of '
                f'{views[0].camera}: adapt to recordings of one camera at a time'
            )
        views += [replace(view, camera=views[0].camera) if views else view for view in more]
    if not views:
        raise ConfigError(
            f'no image has a pose {offset_s:g} s after its time (--pose-offset): give another one'
        )
    return views
