# SPDX-License-Identifier: Apache-2.0
"""Depth of all images of all inputs, in order, into files and videos."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from depth_ros.core.errors import DepthRosError
from depth_ros.core.types import DepthMap
from depth_ros.offline.bag import Bag
from depth_ros.offline.bag_out import BagOutput
from depth_ros.offline.depths import Depths, Part
from depth_ros.offline.files import BAG, FILM, Files, is_there
from depth_ros.offline.film import Film
from depth_ros.offline.inputs import Input, Video
from depth_ros.offline.live import Live
from depth_ros.offline.progress import Progress
from depth_ros.offline.recorded import Selection


@dataclass(slots=True)
class Summary:
    """What a run did.

    Args:
        images: that have depth now.
        there: that had it before.
        failed: that have none.
        network_s: seconds of each image, without reading and writing.
        median_m: median depth of each image [m].
        unknown: share of NaN of each image.
        sky: share of +Inf of each image.
        reasons: why some failed.
        names: of the images that have depth now.
        failures: name of an image or input -> why it has none, as far as it has one.
    """

    images: int = 0
    there: int = 0
    failed: int = 0
    network_s: list[float] = field(default_factory=list)
    median_m: list[float] = field(default_factory=list)
    unknown: list[float] = field(default_factory=list)
    sky: list[float] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)
    names: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, depth: DepthMap, seconds: float) -> None:
        """Count an image."""
        z = depth.z.cpu().numpy()
        finite = z[np.isfinite(z)]
        self.images += 1
        self.network_s.append(seconds)
        self.median_m.append(float(np.median(finite)) if len(finite) else np.nan)
        self.unknown.append(float(np.isnan(z).mean()))
        self.sky.append(float((z == np.inf).mean()))

    def fail(self, name: str, path: Path | str, error: Exception | str, progress: Progress) -> str:
        """Count what has no depth, and print why on standard error, each reason once.

        Args:
            name: of the image or input.
            path: of the input.
            error: why.
            progress: whose line is left to the text.

        Returns:
            The reason with the path.
        """
        text = str(error) if str(path) in str(error) else f'{path}: {error}'
        self.failed += 1
        self.failures[name] = text
        if text not in self.reasons:
            self.reasons.add(text)
            progress.clear()
            print(text, file=sys.stderr)
        return text

    def include(self, other: Summary) -> None:
        """Count the images of another summary, too; their names are left out."""
        for name in ('images', 'there', 'failed'):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ('network_s', 'median_m', 'unknown', 'sky'):
            getattr(self, name).extend(getattr(other, name))
        self.reasons |= other.reasons

    def __str__(self) -> str:
        """All of it in one line."""
        before = f', {self.there} were there before' if self.there else ''
        failed = f', {self.failed} failed' if self.failed else ''
        if not self.images:
            return f'0 images{before}{failed}'
        low, middle, high = np.nanpercentile([*self.median_m, np.nan], (0, 50, 100))
        return (
            f'{self.images} images{before}{failed}; median depth {middle:.3g} m '
            f'({low:.3g} to {high:.3g}), unknown {100 * np.mean(self.unknown):.1f} %, '
            f'sky or beyond range {100 * np.mean(self.sky):.1f} %; '
            f'{1e3 * np.median(self.network_s):.3g} ms per image'
        )


@dataclass(frozen=True, slots=True)
class Job:
    """How images become files.

    Args:
        depths: depth of the images.
        files: which files of each image.
        prefix_of: name of an image or input -> path of its outputs without ending.
        selection: which images.
        films: also a video of each input that is a sequence.
        bags: also a bag of each input that is one.
        copy: these bags have the messages of the input, too.
        overwrite: make again what is there.
        since_ns: older files do not count as there [ns].
    """

    depths: Depths
    files: Files
    prefix_of: Callable[[str], Path]
    selection: Selection
    films: bool = False
    bags: bool = False
    copy: bool = True
    overwrite: bool = False
    since_ns: int = 0

    def __call__(self, inputs: list[Input], progress: Progress | None = None) -> Summary:
        """Process all inputs; what cannot be read is reported on standard error.

        Args:
            inputs: in order.
            progress: of a run that these inputs are a part of.

        Raises:
            DepthRosError: the only image failed.
        """
        parts = list(self.parts(inputs))
        total = sum(len(names) for *_, names in parts)
        summary, progress = Summary(), progress or Progress(total)
        for group in _groups(parts):
            todo: list[Part] = []
            for one, selection, names in group:
                there = self._there(one, names)
                summary.there += len(there)
                progress.skip(len(there))
                if not (len(there) == len(names) and there):
                    todo.append((one, selection, there))
            if not todo:
                continue
            try:
                self._process(todo, summary, progress)
            except DepthRosError as error:
                if total == 1:
                    raise
                summary.fail(todo[0][0].name, todo[0][0].path, error, progress)
        progress.clear()
        return summary

    def parts(self, inputs: list[Input]) -> Iterator[tuple[Input, Selection, list[str]]]:
        """Each input with what is used of it, and the names of these images."""
        left, pictures = self.selection.limit, 0
        for one in inputs:
            pictures += not one.is_sequence
            if left == 0 or (not one.is_sequence and (pictures - 1) % self.selection.every):
                continue
            selection = replace(self.selection, limit=left)
            names = one.names(selection)
            yield one, selection, names
            left = None if left is None else left - len(names)

    def _there(self, one: Input, names: list[str]) -> set[str]:
        """Names of the images that need no work."""
        if self.overwrite:
            return set()
        there = {
            name for name in names if self.files.are_there(self.prefix_of(name), self.since_ns)
        }
        wholes = self._wholes(one)
        if not all(is_there(path, self.since_ns) for path in wholes):
            return set()
        if len(there) == len(names) and (self.files.kinds or wholes):
            return set(names)
        if not there:
            return there
        # half a video or bag cannot go on, nor what depends on the frames before
        again = wholes or self.depths.remembers(one) or not self.files.kinds
        return set() if again else there

    def _wholes(self, one: Input) -> list[Path]:
        """Files that are there when the outputs of the whole input are."""
        film, bag = self._film(one), self._bag(one)
        return [*filter(None, (film, bag and bag / 'metadata.yaml'))]

    def outputs(self, one: Input, names: Iterable[str]) -> list[Path]:
        """Files of these images, and the video and the folder of the bag of their input."""
        paths = [path for name in names for path in self.files.paths(self.prefix_of(name))]
        return [*paths, *filter(None, (self._film(one), self._bag(one)))]

    def _film(self, one: Input) -> Path | None:
        wanted = self.films and one.is_sequence
        return Path(f'{self.prefix_of(one.name)}{FILM}') if wanted else None

    def _bag(self, one: Input) -> Path | None:
        wanted = self.bags and isinstance(one, Bag)
        return Path(f'{self.prefix_of(one.name)}{BAG}') if wanted else None

    def _process(self, parts: list[Part], summary: Summary, progress: Progress) -> None:
        """Several pictures, or one sequence."""
        settings = self.depths.pipeline.snapshot.settings
        one, selection, _ = parts[0]
        paths: dict[str, Path | str] = {part[0].name: part[0].path for part in parts}
        wholes: list[Film | BagOutput] = []
        if isinstance(one, (Video, Bag, Live)) and (path := self._film(one)):
            rate, by_time = one.rate / selection.every, isinstance(one, Live)
            wholes.append(Film(path, rate, settings, by_time=by_time))
        if isinstance(one, Bag) and (path := self._bag(one)):
            wholes.append(BagOutput(path, one, settings, copy=self.copy))
        whole, scale = False, None
        try:
            for recorded, depth, seconds in self.depths.of(parts):
                if isinstance(depth, DepthRosError):
                    if progress.total == 1:
                        raise depth
                    source = paths.get(recorded.name, one.path)
                    summary.fail(recorded.name, source, depth, progress)
                    continue
                self.files.write(depth, self.prefix_of(recorded.name))
                for output in wholes:
                    output.add(depth, recorded)
                scale = depth.scale
                summary.add(depth, seconds)
                summary.names.append(recorded.name)
                progress.step()
            whole = True
        except KeyboardInterrupt:
            if not isinstance(one, Live):
                raise
            whole = True  # that is how it ends
        finally:
            for output in wholes:
                output.close(whole=whole)
        if scale is not None:
            progress.clear()
            print(f'{one.name}: {scale}')


def _groups(
    parts: list[tuple[Input, Selection, list[str]]],
) -> Iterator[list[tuple[Input, Selection, list[str]]]]:
    """Pictures that follow one another, and each sequence on its own."""
    for is_sequence, some in itertools.groupby(parts, lambda part: part[0].is_sequence):
        if is_sequence:
            yield from ([part] for part in some)
        else:
            yield list(some)
