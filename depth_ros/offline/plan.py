# SPDX-License-Identifier: Apache-2.0
"""What a run over recorded images shall do, as a value that another process can be given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import depth_ros
from depth_ros.core.types import Anchors
from depth_ros.offline.cameras import Cameras, GivenCamera
from depth_ros.offline.files import ENDINGS, Files, claim
from depth_ros.offline.recorded import Selection
from depth_ros.offline.run import Job
from depth_ros.pipeline.build import Choices
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.scaling.anchored import AnchoredScale

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
            'model': choices.model,
            'weights': choices.weights,
            'scaling': choices.scaling,
        }
        return claim(self.output, made_by, overwrite=self.overwrite)

    def job(self, pipeline: Pipeline, since_ns: int = 0) -> Job:
        """The work itself.

        Args:
            pipeline: for `values`.
            since_ns: of `claim`.
        """
        settings = pipeline.snapshot.settings
        # a file is not a topic: it has every pixel unless something else is asked for
        stride = settings.points.stride if 'points.stride' in self.values else 1
        scale = None
        if (anchors := self.anchors) is not None:
            scale = AnchoredScale(lambda frame, prediction: {'anchors': anchors})
        return Job(
            pipeline,
            Cameras(self.camera, pipeline),
            Files([kind for kind in self.kinds if kind in ENDINGS], settings, stride),
            self.prefix_of,
            self.selection,
            films='video' in self.kinds,
            bags='bag' in self.kinds,
            copy=self.copy,
            overwrite=self.overwrite or self.single,
            since_ns=since_ns,
            scale=scale,
        )
