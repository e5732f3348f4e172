# SPDX-License-Identifier: Apache-2.0
"""The inputs that a command line names: pictures, videos, bags and cameras."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.errors import ConfigError, DepthRosError, ImageError
from depth_ros.offline import bag, image_file
from depth_ros.offline.bag import Bag
from depth_ros.offline.files import BAG, ENDINGS, FILM
from depth_ros.offline.image_file import ImageFile
from depth_ros.offline.live import ADDRESS, Live
from depth_ros.offline.recorded import Recorded, Selection, itself

PICTURES = frozenset(
    {'.avif', '.bmp', '.heic', '.heif', '.jp2', '.jpeg', '.jpg', '.pgm', '.png', '.ppm'}
    | {'.tif', '.tiff', '.webp'}
)
VIDEOS = frozenset({'.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm'})


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
    has_camera = False  #: whether it tells the camera

    def names(self, selection: Selection) -> list[str]:
        """Of its images."""
        return [self.name]

    def images(self, selection: Selection) -> Iterator[Recorded]:
        """The image."""
        yield Recorded(self.name, lambda: image_file.read(self.path))


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
    has_camera = False

    def _name(self, frame: int) -> str:
        return f'{self.name}/{frame:06d}'

    def names(self, selection: Selection) -> list[str]:
        """Of its images."""
        used = [self._name(k) for k in range(self.count) if selection.uses(k, k / self.rate)]
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
                if selection.uses(frame, frame / self.rate):
                    there, bgr = video.retrieve()
                    if not there:
                        break
                    rgb: NDArray[np.uint8] = np.ascontiguousarray(bgr[..., ::-1], np.uint8)
                    stamp_ns = round(frame / self.rate * 1e9)
                    image = ImageFile(rgb, 1, None)
                    read = partial(itself, image)
                    yield Recorded(self._name(frame), read, stamp_ns, is_frame=True)
                    given += 1
                frame += 1
        finally:
            video.release()
        if not frame:
            raise ImageError(f'{self.path} has no frame that OpenCV decodes; convert it to MP4')


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file among others that looks like an input, and cannot be opened.

    Args:
        path: of the file.
        name: of its outputs.
        error: why.
    """

    path: Path
    name: str
    error: DepthRosError
    # the others decide what is written, and whether cameras are known
    is_sequence = True
    has_camera = True

    def names(self, selection: Selection) -> list[str]:
        """Of its images."""
        return [self.name]

    def images(self, selection: Selection) -> Iterator[Recorded]:
        """One that cannot be read."""
        yield Recorded(self.name, self._fail)

    def _fail(self) -> ImageFile:
        raise self.error


@dataclass(frozen=True, slots=True)
class Piece:
    """Some successive images of a bag, where the others do not change their depth.

    Args:
        whole: the bag.
        first: of the images that are used, the first of the piece.
        last: the first one after it.
    """

    whole: Bag
    first: int
    last: int
    is_sequence = True

    @property
    def path(self) -> Path:
        """Of the bag."""
        return self.whole.path

    @property
    def name(self) -> str:
        """Of the bag's outputs."""
        return self.whole.name

    @property
    def has_camera(self) -> bool:
        """Whether it tells the camera."""
        return self.whole.has_camera

    def names(self, selection: Selection) -> list[str]:
        """Of its images."""
        return self.whole.names(selection)[self.first : self.last]

    def images(self, selection: Selection, rectification: str) -> Iterator[Recorded]:
        """The images; those before them are read, but not decoded.

        Args:
            selection: of the bag's images.
            rectification: as for the bag.

        Raises:
            ImageError: the bag is damaged here.
        """
        images = self.whole.images(selection, rectification)
        return islice(images, self.first, self.last)


Input = Picture | Video | Bag | Live | Piece | Unreadable


def find(words: Sequence[str], topic: str = '') -> list[Input]:
    """The inputs that the words of a command line name: files, folders, patterns or a camera.

    In a folder, and below it, all pictures, videos and bags are taken, except what `run` wrote.

    Args:
        words: of the command line.
        topic: of the images of bags; '' for the only one.

    Raises:
        ConfigError: a word names nothing, two inputs would have outputs of the same name, or there
            is more than a camera.
        DepthRosError: none of them can be opened. One of several that cannot is an `Unreadable`.
    """
    if any(ADDRESS.fullmatch(word) for word in words):
        if len(words) > 1:
            raise ConfigError(f'a camera is the only input; there are {len(words)}')
        return [Live.open(words[0])]
    found: list[tuple[Path, str]] = []
    for word in words:
        path = Path(word)
        if path.is_dir() and not _is_bag(path):
            # the files of a bag are one input
            inside = dict.fromkeys(
                p.parent if _is_bag(p.parent) else p
                for p in sorted(path.rglob('*'))
                if _is_input(p)
            )
            if not inside:
                raise ConfigError(f'{word} has no picture, video or bag in it')
            found += [(p, p.relative_to(path).with_suffix('').as_posix()) for p in inside]
        elif path.exists() or not glob.has_magic(word):
            found.append((path, path.stem))
        else:
            matching = [Path(p) for p in sorted(glob.glob(word, recursive=True))]
            files = [p for p in matching if _is_input(p) or _is_bag(p)]
            if not files:
                raise ConfigError(f'{word} matches no picture, video or bag')
            found += [(p, p.stem) for p in files]
    inputs = [_opened(path, name, topic) for path, name in found]
    unreadable = [one for one in inputs if isinstance(one, Unreadable)]
    if unreadable and len(unreadable) == len(inputs):
        raise unreadable[0].error
    seen: dict[str, Path | str] = {}
    for one in inputs:
        if one.name in seen:
            raise ConfigError(
                f'{seen[one.name]} and {one.path} would have outputs of the same name, '
                f'{one.name}: give the folder above both'
            )
        seen[one.name] = one.path
    return inputs


def first_size(one: Input) -> tuple[int, int] | None:
    """Width and height of the first image of an input [px]; None if it cannot be read."""
    if isinstance(one, Live):
        return one.size
    if isinstance(one, Piece):
        one = one.whole
    try:
        image = next(iter(one.images(Selection(limit=1)))).read()
    except (DepthRosError, StopIteration):  # which the run reports
        return None
    height, width = image.rgb.shape[:2]
    return width, height


def _opened(path: Path, name: str, topic: str) -> Input:
    try:
        return open_file(path, name, topic)
    except DepthRosError as error:
        return Unreadable(path, name, error)


def _is_input(path: Path) -> bool:
    made_bag = path.parent.name.endswith(BAG) and _is_bag(path.parent)
    ours = path.name.endswith((*ENDINGS.values(), FILM)) or made_bag
    known = PICTURES | VIDEOS | bag.ENDINGS
    return path.is_file() and path.suffix.lower() in known and not ours


def _is_bag(path: Path) -> bool:
    return path.is_dir() and (path / 'metadata.yaml').is_file()


def open_file(path: Path, name: str, topic: str = '') -> Input:
    """A file, or the folder of a bag, as an input; what is no video or bag may be a picture.

    Raises:
        ImageError: it is a video or a bag that cannot be opened.
        ConfigError: it is a bag without that topic, or with several.
    """
    if _is_bag(path) or (path.is_file() and path.suffix.lower() in bag.ENDINGS):
        return Bag.open(path, name, topic)
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
