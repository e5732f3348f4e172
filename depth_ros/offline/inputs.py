# SPDX-License-Identifier: Apache-2.0
"""Pictures and videos as one kind of thing: images with a name, a time and what the file tells."""

from __future__ import annotations

import glob
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.errors import ConfigError, ImageError
from depth_ros.offline import image_file
from depth_ros.offline.files import ENDINGS
from depth_ros.offline.image_file import ImageFile

PICTURES = frozenset(
    {'.bmp', '.jpeg', '.jpg', '.jp2', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp'}
)
VIDEOS = frozenset({'.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm'})


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images of an input are used.

    Args:
        every: the first of each so many frames of a video, and of all pictures.
        start_s: of a video, from this time on [s].
        end_s: of a video, up to this time [s].
        limit: at most so many.
    """

    every: int = 1
    start_s: float = 0.0
    end_s: float = math.inf
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One image.

    Args:
        name: of its outputs, relative and without ending.
        image: pixels, and focal length where the file has it.
        stamp_ns: time since the start of the input [ns].
        is_frame: it is of a sequence, whose name its own begins with.
    """

    name: str
    image: ImageFile
    stamp_ns: int = 0
    is_frame: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file.

    Args:
        path: of the file.
        name: of its outputs.
    """

    path: Path
    name: str
    #: whether its images are of one camera, in the order of time
    is_sequence = False

    def names(self, selection: Selection) -> list[str]:
        """Of its images."""
        return [self.name]

    def images(self, selection: Selection) -> Iterator[Recorded]:
        """The image.

        Raises:
            ImageError: it cannot be read.
        """
        yield Recorded(self.name, image_file.read(self.path))


@dataclass(frozen=True, slots=True)
class Video:
    """A video file.

    Args:
        path: of the file.
        name: of its outputs; those of a frame are in a folder of this name.
        rate: frames per second.
        count: number of frames, as the file states it.
    """

    path: Path
    name: str
    rate: float
    count: int
    is_sequence = True

    def _used(self, selection: Selection, frame: int) -> bool:
        return (
            frame % selection.every == 0
            and selection.start_s <= frame / self.rate <= selection.end_s
        )

    def _name(self, frame: int) -> str:
        return f'{self.name}/{frame:06d}'

    def names(self, selection: Selection) -> list[str]:
        """Of its images."""
        used = [self._name(k) for k in range(self.count) if self._used(selection, k)]
        return used[: selection.limit]

    def images(self, selection: Selection) -> Iterator[Recorded]:
        """The frames, as many as can be decoded.

        Raises:
            ImageError: not a single one can be decoded.
        """
        video = cv2.VideoCapture(str(self.path))
        given = frame = 0
        try:
            while selection.limit is None or given < selection.limit:
                if not video.grab():
                    break
                if self._used(selection, frame):
                    there, bgr = video.retrieve()
                    if not there:
                        break
                    rgb: NDArray[np.uint8] = np.ascontiguousarray(bgr[..., ::-1], np.uint8)
                    stamp_ns = round(frame / self.rate * 1e9)
                    image = ImageFile(rgb, 1, None)
                    yield Recorded(self._name(frame), image, stamp_ns, is_frame=True)
                    given += 1
                frame += 1
        finally:
            video.release()
        if not frame:
            raise ImageError(f'{self.path} has no frame that OpenCV decodes; convert it to MP4')


Input = Picture | Video


def find(words: Sequence[str]) -> list[Input]:
    """The inputs that the words of a command line name: files, folders and patterns.

    In a folder, and below it, all pictures and videos are taken, except what `run` wrote.

    Raises:
        ConfigError: a word names nothing, or two inputs would have outputs of the same name.
    """
    inputs: list[Input] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = [p for p in sorted(path.rglob('*')) if _is_input(p)]
            if not inside:
                raise ConfigError(f'{word} has no picture and no video in it')
            inputs += [
                open_file(p, p.relative_to(path).with_suffix('').as_posix()) for p in inside
            ]
        elif path.exists() or not glob.has_magic(word):
            inputs.append(open_file(path, path.stem))
        else:
            found = [Path(p) for p in sorted(glob.glob(word, recursive=True))]
            files = [p for p in found if _is_input(p)]
            if not files:
                raise ConfigError(f'{word} matches no picture and no video')
            inputs += [open_file(p, p.stem) for p in files]
    seen: dict[str, Path] = {}
    for one in inputs:
        if one.name in seen:
            raise ConfigError(
                f'{seen[one.name]} and {one.path} would have outputs of the same name, '
                f'{one.name}: give the folder above both'
            )
        seen[one.name] = one.path
    return inputs


def _is_input(path: Path) -> bool:
    ours = any(path.name.endswith(ending) for ending in ENDINGS.values())
    return path.is_file() and path.suffix.lower() in PICTURES | VIDEOS and not ours


def open_file(path: Path, name: str) -> Input:
    """A file as an input; whatever is no video may be a picture.

    Raises:
        ImageError: it is a video that cannot be opened.
    """
    if path.suffix.lower() not in VIDEOS or not path.is_file():
        return Picture(path, name)
    video = cv2.VideoCapture(str(path))
    try:
        rate, count = video.get(cv2.CAP_PROP_FPS), int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        if not video.isOpened():
            raise ImageError(f'{path} cannot be opened by OpenCV; convert it to MP4 (H.264)')
    finally:
        video.release()
    return Video(path, name, rate if 0 < rate < 1000 else 30.0, max(0, count))
