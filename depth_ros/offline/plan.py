# SPDX-License-Identifier: Apache-2.0
"""What a run over recorded images shall do, as a value that another process can be given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import depth_ros
from depth_ros.core.types import Anchors
from depth_ros.offline.cameras import Cameras, GivenCamera
from depth_ros.offline.depths import Depths
from depth_ros.offline.files import ENDINGS, Files, claim
from depth_ros.offline.load import load
from depth_ros.offline.recorded import Selection
from depth_ros.offline.run import Job
from depth_ros.pipeline.build import Choices, Size
from depth_ros.pipeline.depth_pipeline import Pipeline

#: what can be written; the last two are of whole videos and bags
KINDS = (*ENDINGS, 'video', 'bag')


@dataclass(frozen=True, slots=True)
class Plan:
    """A run.

    Args:
        values: parameters that were given, by name.
        camera: what was given of it.
        kinds: of `KINDS`, what is written.
        selection: which images.
        output: folder of the files; of a single picture their path without ending.
        single: the only input is a picture.
        copy: bags have the messages of their input, too.
        overwrite: make again what is there.
        anchors: of a single picture; None for those of `anchors.sources`.
        topics: of bags: topic of depth_node -> topic of the bag.
        batch: so many images at once.
        size: width and height [px] of the first image, if it is known.
        there: of `load.has`.
    """

    values: Mapping[str, Any]
    camera: GivenCamera
    kinds: tuple[str, ...]
    selection: Selection
    output: Path
    single: bool = False
    copy: bool = True
    overwrite: bool = False
    anchors: Anchors | None = None
    topics: Mapping[str, str] = field(default_factory=dict)
    batch: int = 1
    size: Size | None = None
    there: frozenset[str] = frozenset()

    def prefix_of(self, name: str) -> Path:
        """Name of an image or input -> path of its outputs without ending."""
        return self.output if self.single else self.output / name

    def claim(self, choices: Choices) -> int:
        """Record in the folder what makes its files; see `files.claim`."""
        given = {k: v for k, v in self.values.items() if k not in ('model', 'device')}
        made_by = {
            'depth_ros': depth_ros.__version__,
            **given,
            **self.camera.values(),
            **self.topics,
            'model': choices.model,
            'weights': choices.weights,
            'scaling': choices.scaling,
        }
        return claim(self.output, made_by, overwrite=self.overwrite)

    def load(self) -> tuple[Pipeline, Choices]:
        """The pipeline for `values`; see `load.load`."""
        return load(self.values, self.there, lambda: self.size)

    def job(self, pipeline: Pipeline, since_ns: int = 0) -> Job:
        """The work itself.

        Args:
            pipeline: of `load`.
            since_ns: of `claim`.
        """
        settings = pipeline.snapshot.settings
        # a file is not a topic: it has every pixel unless something else is asked for
        stride = settings.points.stride if 'points.stride' in self.values else 1
        cameras = Cameras(self.camera, pipeline)
        return Job(
            Depths(pipeline, cameras, self.anchors, self.topics, self.batch),
            Files([kind for kind in self.kinds if kind in ENDINGS], settings, stride),
            self.prefix_of,
            self.selection,
            films='video' in self.kinds,
            bags='bag' in self.kinds,
            copy=self.copy,
            overwrite=self.overwrite or self.single,
            since_ns=since_ns,
        )
