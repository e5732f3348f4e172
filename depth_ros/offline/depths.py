# SPDX-License-Identifier: Apache-2.0
"""Depth of recorded images, in their order."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from depth_ros.core.camera import Camera
from depth_ros.core.errors import DepthRosError
from depth_ros.core.types import Anchors, DepthMap, Frame
from depth_ros.offline.bag import Bag
from depth_ros.offline.bag_sensors import BagSensors, is_needed
from depth_ros.offline.image_file import ImageFile
from depth_ros.offline.inputs import Input, Piece
from depth_ros.offline.recorded import Recorded, Selection
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.filters import Filters
from depth_ros.pipeline.scaling.anchored import AnchoredScale

#: camera of an image, given its pixels on the device too
CameraOf = Callable[[Recorded, ImageFile, torch.Tensor], Camera]
#: an input, which of its images, and the names of those that are left out
Part = tuple[Input, Selection, Container[str]]
#: image, its depth or why it has none, and the seconds that this took without reading the image
Result = tuple[Recorded, DepthMap | DepthRosError, float]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An image with all that its depth depends on."""

    recorded: Recorded
    frame: Frame
    filters: Filters
    scale: AnchoredScale | None


def remembers(one: Input, settings: Settings) -> bool:
    """Whether depth of an image depends on the images before it in its input.

    A network sees one image. What remembers others is:

    - `filters.temporal` and `filters.temporal_hold`;
    - anchors and floor of a bag, and the scale that is tracked by them;
    - `intrinsics` 'estimated', the median of the first estimates;
    - images of 16 bits in a bag, of which the recent ones decide how many bits are used.
    """
    if not one.is_sequence:
        return False
    filters = settings.filters
    temporal = filters.temporal > 0 or filters.temporal_hold > 0
    estimated = settings.intrinsics == 'estimated'
    if temporal or estimated or is_needed(settings):
        return True
    return isinstance(one, Bag) and one.has_16_bits()


@dataclass(frozen=True, slots=True)
class Depths:
    """Depth of the images of inputs.

    Args:
        pipeline: with its settings.
        camera_of: finds the camera of an image.
        anchors: of a single picture; None for those of `anchors.sources`.
        topics: of bags: topic of depth_node -> topic of the bag.
        batch: so many images at once, where the network can. Images with anchors go one by one.
    """

    pipeline: Pipeline
    camera_of: CameraOf
    anchors: Anchors | None = None
    topics: Mapping[str, str] = field(default_factory=dict)
    batch: int = 1

    def remembers(self, one: Input) -> bool:
        """As the function `remembers`."""
        return remembers(one, self.pipeline.snapshot.settings)

    def __call__(
        self, one: Input, selection: Selection, without: Container[str] = ()
    ) -> Iterator[Result]:
        """Depth of the images of an input.

        Args:
            one: the input.
            selection: which of its images.
            without: names of images that are left out.
        """
        return self.of([(one, selection, without)])

    def of(self, parts: Iterable[Part]) -> Iterator[Result]:
        """Depth of the images of several inputs.

        Raises:
            DepthRosError: an input cannot be read; those before it have been yielded.
        """
        batch: list[_Prepared] = []
        for part in parts:
            images = self._prepared(*part)
            while True:
                try:
                    item = next(images, None)
                except DepthRosError:
                    yield from self._run(batch)
                    raise
                if item is None:
                    break
                if isinstance(item, _Prepared):
                    batch.append(item)
                    if len(batch) < (1 if item.scale else self.batch):
                        continue
                yield from self._run(batch)
                batch = []
                if not isinstance(item, _Prepared):
                    yield item
        yield from self._run(batch)

    def _prepared(
        self, one: Input, selection: Selection, without: Container[str]
    ) -> Iterator[_Prepared | Result]:
        """The images of an input, or why they have no depth."""
        settings, sensors = self.pipeline.snapshot.settings, None
        if isinstance(one, Piece):
            images = one.images(selection, settings.rectification)
        elif isinstance(one, Bag):
            sensors = BagSensors(settings, self.topics) if is_needed(settings) else None
            images = one.images(selection, settings.rectification, sensors)
        else:
            images = one.images(selection)
        scale, filters = self._scale(sensors), Filters()
        for recorded in images:
            if recorded.name in without:
                continue
            if not one.is_sequence:
                filters = Filters()
            try:
                frame = self._frame(recorded)
            except DepthRosError as error:
                yield recorded, error, 0.0
                continue
            if sensors is not None:
                frame = sensors.take(frame)
            yield _Prepared(recorded, frame, filters, scale)
        for doubt in sorted(sensors.doubts()) if sensors else ():
            print(f'{one.path}: {doubt}', file=sys.stderr)

    def _scale(self, sensors: BagSensors | None) -> AnchoredScale | None:
        if (anchors := self.anchors) is not None:
            return AnchoredScale(lambda frame, prediction: {'anchors': anchors})
        if sensors is not None and any(self.pipeline.snapshot.settings.anchors.sources):
            return AnchoredScale(sensors.anchors, lambda: sensors.anchors.reasons)
        return None

    def _frame(self, recorded: Recorded) -> Frame:
        image = recorded.read()
        rgb = torch.from_numpy(np.require(image.rgb, requirements='W')).to(self.pipeline.device)
        camera = self.camera_of(recorded, image, rgb)
        return Frame(rgb, camera, recorded.stamp_ns, recorded.frame_id)

    def _run(self, batch: list[_Prepared]) -> Iterator[Result]:
        if not batch:
            return
        pipeline, start_s = self.pipeline, time.monotonic()
        found: list[DepthMap | DepthRosError] = []
        for depth in pipeline.many(
            [item.frame for item in batch],
            pipeline.snapshot,
            [item.filters for item in batch],
            [item.scale for item in batch],
        ):
            try:
                if isinstance(depth, DepthMap):
                    depth.ensure_finite()  # waits for the network
                found.append(depth)
            except DepthRosError as error:
                found.append(error)
        each_s = (time.monotonic() - start_s) / len(batch)
        for item, depth in zip(batch, found, strict=True):
            yield item.recorded, depth, each_s
