# SPDX-License-Identifier: Apache-2.0
"""Networks over inputs with measured depth, one network at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
import torch

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError, DepthRosError, ImageError
from depth_ros.core.types import Frame
from depth_ros.offline.cameras import Cameras, GivenCamera
from depth_ros.offline.evaluation.measured import Depth, Measured
from depth_ros.offline.evaluation.network import Network, Predicted
from depth_ros.offline.evaluation.scores import FEWEST, Score, score
from depth_ros.offline.evaluation.sequences import (
    MOST_FRAMES,
    Drift,
    View,
    drift,
    temporal_alignment_error,
)
from depth_ros.offline.evaluation.shown import Shown
from depth_ros.offline.evaluation.truth import Source
from depth_ros.offline.image_file import ImageFile
from depth_ros.offline.progress import Progress
from depth_ros.offline.recorded import Recorded, Selection
from depth_ros.pipeline.filters import Filters

WORST, OWN_WORST = 3, 2  #: frames shown of the first network, and of each of the others
ALIKE_S = 3.0  #: of frames of a sequence closer than this only the worst is shown

CameraOf = Callable[[Recorded, ImageFile, torch.Tensor], Camera]
#: (H, W) -> depth, without looking at the image
Guess = Callable[[tuple[int, int]], Depth]


@dataclass(frozen=True, slots=True)
class Row:
    """A frame that was compared.

    Args:
        source: name of the input.
        name: of the frame.
        time_s: since the start of a sequence [s].
        score: its metrics.
    """

    source: str
    name: str
    time_s: float
    score: Score


@dataclass(slots=True)
class Result:
    """What was found about one network or baseline.

    Args:
        label: its name.
        about: what it is, in one line.
        alignments: of `scores.ALIGNMENTS`, those that mean something.
        rows: of the frames.
        drifts: by input, of sequences.
        tae: by input, temporal alignment error of depth as predicted; of sequences with poses.
        tae_scaled: the same after one factor for the sequence.
        seconds: of each frame, without reading it.
        shown: by name, frames for the report.
    """

    label: str
    about: str
    alignments: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    drifts: dict[str, Drift] = field(default_factory=dict)
    tae: dict[str, float] = field(default_factory=dict)
    tae_scaled: dict[str, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    shown: dict[str, Shown] = field(default_factory=dict)

    @property
    def order_by(self) -> str:
        """The alignment by which frames are called worst."""
        return self.alignments[0]

    def error(self, row: Row) -> float:
        """AbsRel of a frame, by which it is called worst."""
        return row.score.errors[self.order_by].abs_rel


class Comparison:
    """The same frames for all networks.

    Args:
        sources: the inputs.
        selection: which of their images.
        given: what the user says of the camera.
        near: smallest truth that is compared [m].
        far: largest truth that is compared [m].

    Attributes:
        skipped: why images were not used -> how many.
        lacking: name of an input -> its images without depth at their time, and the smallest
            distance to one [s].
        truth_tae: by input, temporal alignment error of the truth: what is due to poses,
            calibration, noise and motion alone.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        selection: Selection,
        given: GivenCamera,
        near: float,
        far: float,
    ) -> None:
        self.sources, self.selection, self.given = sources, selection, given
        self.near, self.far = near, far
        self.skipped: Counter[str] = Counter()
        self.lacking: dict[str, tuple[int, float]] = {}
        self.truth_tae: dict[str, float] = {}
        self._wanted: set[str] = set()
        self._passes = 0
        self._progress = Progress(0)

    def __call__(self, network: Network, guesses: dict[str, Guess] | None = None) -> list[Result]:
        """Run a network over all frames.

        Args:
            network: the first one decides which frames are shown.
            guesses: baselines, compared with the same frames.

        Returns:
            Of the network, and of each baseline.
        """
        choice = network.choice
        result = Result(choice.label, str(network.choices), choice.alignments)
        others = {
            name: Result(name, 'does not look at the image', ('metres', 'median', 'affine'))
            for name in guesses or {}
        }
        rectification = network.pipeline.snapshot.settings.rectification
        cameras = Cameras(self.given, network.pipeline, quiet=True)
        gallery = _Gallery(result, self._wanted, WORST if not self._passes else OWN_WORST)
        self._progress = progress = Progress(expected(self.sources, self.selection))
        for source, taken in parts(self.sources, self.selection, rectification):
            views: list[View] = []
            truths: list[View] = []
            filters = Filters()
            for image, frame, camera, truth in self._frames(source, taken, network, cameras):
                if not source.is_sequence:
                    filters = Filters()
                try:
                    predicted = network(frame, filters)
                except DepthRosError as error:
                    self.skipped[f'{source.path}: {choice.label}: {error}'] += 1
                    continue
                found = score(predicted.z, truth, self.near, self.far, predicted.values)
                name = image.recorded.name
                if found is None:
                    self._count(
                        f'{source.path}: {choice.label} has a prediction for fewer than {FEWEST} '
                        'pixels with measured depth'
                    )
                    continue
                row = Row(source.name, name, image.time_s, found)
                result.rows.append(row)
                result.seconds.append(predicted.seconds)
                gallery.offer(row, predicted, truth, camera)
                for label, other in others.items():
                    assert guesses is not None
                    theirs = score(guesses[label](camera.size), truth, self.near, self.far)
                    if theirs is not None:
                        other.rows.append(replace(row, score=theirs))
                if image.T_world_camera is not None and len(views) < MOST_FRAMES:
                    views.append(View.of(predicted.z, camera, image.T_world_camera))
                    if not self._passes:
                        truths.append(View.of(truth, camera, image.T_world_camera))
                progress.step()
            for one in (result, *others.values()):
                _add_drift(one, source)
            self._add_tae(result, source, views, truths)
        progress.clear()
        gallery.close()
        if not self._passes:
            self._wanted = set(result.shown)
        self._passes += 1
        return [result, *others.values()]

    def _count(self, reason: str) -> None:
        self.skipped[reason] += 1

    def _frames(
        self, source: Source, taken: Iterator[Measured], network: Network, cameras: CameraOf
    ) -> Iterator[tuple[Measured, Frame, Camera, Depth]]:
        """Frames of an input, with the camera of the truth and the truth in its pixels."""
        try:
            for image in taken:
                if image.lacks_s:
                    if not self._passes:
                        number, least_s = self.lacking.get(source.name, (0, np.inf))
                        self.lacking[source.name] = number + 1, min(least_s, image.lacks_s)
                    self._progress.skip()
                    continue
                try:
                    frame, camera, truth = loaded(image, network, cameras, self.given)
                except DepthRosError as error:
                    self._skip(source, error)
                    self._progress.skip()
                    continue
                with np.errstate(invalid='ignore'):
                    known = np.count_nonzero((truth >= self.near) & (truth <= self.far))
                if known < FEWEST:
                    few = f'fewer than {FEWEST} pixels have depth between'
                    self._skip(source, ImageError(f'{few} {self.near:g} and {self.far:g} m'))
                    self._progress.skip()
                    continue
                yield image, frame, camera, truth
        except DepthRosError as error:  # the rest of this input
            self._skip(source, error)

    def _skip(self, source: Source, error: DepthRosError) -> None:
        """Keep the reason; it is the same for all networks."""
        if not self._passes:
            text = str(error)
            self._count(text if str(source.path) in text else f'{source.path}: {text}')

    def _add_tae(
        self, result: Result, source: Source, views: list[View], truths: list[View]
    ) -> None:
        if len(views) < 2:
            return
        if truths:
            self.truth_tae[source.name] = temporal_alignment_error(truths)
        if 'metres' in result.alignments:
            result.tae[source.name] = temporal_alignment_error(views)
        if source.name in result.drifts:
            factor = result.drifts[source.name].median
            result.tae_scaled[source.name] = temporal_alignment_error(views, factor)


def parts(
    sources: Sequence[Source], selection: Selection, rectification: str = 'auto'
) -> Iterator[tuple[Source, Iterator[Measured]]]:
    """Each input with its images that are used.

    The limit is of all images. Where an input is no sequence, `every` counts its images together
    with those of others like it.
    """
    left, pictures = selection.limit, count()

    def taken(source: Source) -> Iterator[Measured]:
        nonlocal left
        used = selection if source.is_sequence else Selection()
        for image in source.images(used, rectification):
            if not source.is_sequence and next(pictures) % selection.every:
                continue
            if left == 0:
                return
            left = None if left is None else left - 1
            yield image

    for source in sources:
        yield source, taken(source)


def expected(sources: Sequence[Source], selection: Selection) -> int:
    """About how many images `parts` gives."""
    total = sum(-(-source.count // selection.every) for source in sources)
    return total if selection.limit is None else min(total, selection.limit)


def loaded(
    image: Measured,
    network: Network,
    cameras: CameraOf,
    given: GivenCamera,
    *,
    upright: bool = False,
) -> tuple[Frame, Camera, Depth]:
    """Read an image and its truth: the frame, the camera of the truth, and the truth.

    Args:
        image: what is read.
        network: for which.
        cameras: finds the camera.
        given: what the user says of it.
        upright: the truth is that of the upright image.

    Raises:
        DepthRosError: one of them cannot be used.
    """
    recorded = image.recorded
    file = recorded.read()
    if file.orientation != 1 and not upright:
        raise ImageError(
            f'{recorded.name} is turned upright by EXIF orientation {file.orientation}, its depth '
            'is not: remove the tag'
        )
    height, width = file.rgb.shape[:2]
    device = network.pipeline.device
    rgb = torch.from_numpy(np.require(file.rgb, requirements='W')).to(device)
    camera = cameras(recorded, file, rgb)
    frame = Frame(rgb, camera, recorded.stamp_ns, recorded.frame_id)
    if network.pipeline.snapshot.settings.intrinsics == 'estimated':
        # the truth has the real camera, if that is known
        if given.values():
            camera = given.of(file)
        elif recorded.calibration is not None:
            camera = recorded.calibration(width, height).camera
        if camera.is_distorted:
            raise CameraError(
                "intrinsics is 'estimated', for an image without distortion, but this one has "
                'some: undistort it first'
            )
    return frame, camera, image.truth(camera)


def _add_drift(result: Result, source: Source) -> None:
    rows = [row for row in result.rows if row.source == source.name]
    # without scale and shift there is no ratio
    if source.is_sequence and len(rows) > 1 and 'median' in result.alignments:
        ratios = [row.score.ratio for row in rows]
        result.drifts[source.name] = drift(ratios, [row.time_s for row in rows])


class _Gallery:
    """Keeps the frames that the report shows: those that are wanted, and the worst."""

    def __init__(self, result: Result, wanted: set[str], worst: int) -> None:
        self._result, self._wanted, self._worst = result, wanted, worst
        self._kept: list[tuple[float, Row, Shown]] = []  # the worst first

    def offer(self, row: Row, predicted: Predicted, truth: Depth, camera: Camera) -> None:
        """Keep a frame if it is one of them."""
        error = self._result.error(row)
        if row.name in self._wanted:
            self._result.shown[row.name] = Shown.of(predicted, truth, camera)
            return
        # frames next to each other look alike
        alike = [(e, r) for e, r, _ in self._kept if r.source == row.source and _are_close(r, row)]
        if any(e >= error for e, _ in alike):
            return
        kept = [item for item in self._kept if all(item[1] is not r for _, r in alike)]
        if len(kept) == self._worst and error <= kept[-1][0]:
            return
        kept.append((error, row, Shown.of(predicted, truth, camera)))
        self._kept = sorted(kept, key=lambda item: -item[0])[: self._worst]

    def close(self) -> None:
        """Give the worst frames to the result, the worst first."""
        self._result.shown |= {row.name: shown for _, row, shown in self._kept}


def _are_close(one: Row, other: Row) -> bool:
    return 0 < abs(one.time_s - other.time_s) < ALIKE_S
