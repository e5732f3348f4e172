# SPDX-License-Identifier: Apache-2.0
"""Recorded images and their depth in the viewer, as they are computed."""

from __future__ import annotations

from collections.abc import Sequence

from depth_ros.core.errors import DepthRosError
from depth_ros.core.types import DepthMap
from depth_ros.offline.files import cloud_of
from depth_ros.offline.inputs import Input, Picture, Video
from depth_ros.offline.progress import Progress
from depth_ros.offline.recorded import Recorded
from depth_ros.offline.run import Job, Summary
from depth_ros.offline.viewer import STAMP, TIME, Viewer
from depth_ros.pipeline.build import Choices

PICTURES = 'pictures'  #: name under which all pictures are shown, as one sequence


class View:
    """Shows images and their depth.

    Args:
        job: with the pipeline and the choice of images.
        viewer: where they are shown; it stays open.
        choices: what was chosen for the pipeline, for the text beside the figures.

    Attributes:
        summary: of what was shown so far.
    """

    def __init__(self, job: Job, viewer: Viewer, choices: Choices) -> None:
        self.job, self.viewer = job, viewer
        self.summary = Summary()
        names = ('model', 'adapted', 'scaling', 'device', 'precision', 'licence')
        network = {name: str(getattr(choices, name)) for name in names}
        self._network = {name: text for name, text in network.items() if text}
        self._frames: dict[str, int] = {}  # name -> images shown

    def __call__(self, inputs: Sequence[Input]) -> None:
        """Show all images of all inputs; what cannot be read is reported on standard error.

        Raises:
            DepthRosError: the only image cannot be read.
        """
        parts = list(self.job.parts(list(inputs)))
        total = sum(len(names) for *_, names in parts)
        progress = Progress(total)
        for one, selection, _ in parts:
            try:
                for recorded, depth, seconds in self.job.depths(one, selection):
                    if not isinstance(depth, DepthRosError):
                        self._show(one, recorded, depth, seconds)
                        progress.step()
                    elif total == 1:
                        raise depth
                    else:
                        self.summary.fail(recorded.name, one.path, depth, progress)
            except DepthRosError as error:
                if total == 1:
                    raise
                self.summary.fail(one.name, one.path, error, progress)
        progress.clear()

    def _show(self, one: Input, recorded: Recorded, depth: DepthMap, seconds: float) -> None:
        is_picture = isinstance(one, Picture)
        name = PICTURES if is_picture else one.name
        frame = self._frames.get(name, 0)
        self._frames[name] = frame + 1
        self.summary.add(depth, seconds)
        if not frame:
            self.viewer.describe(name, depth.camera, self._network)
        state = depth.scale
        points = self.job.depths.pipeline.snapshot.settings.points
        self.viewer.show(
            name,
            None if is_picture else recorded.stamp_ns,
            timeline=TIME if isinstance(one, Video) else STAMP,
            frame=frame,
            rgb=depth.rgb.cpu().numpy(),
            z=depth.z.cpu().numpy(),
            camera=depth.camera,
            points=cloud_of(depth, points, points.stride).cpu().numpy(),
            colored=points.color,
            anchors=depth.anchors,
            scale=None if state is None else (state.scale, 100 * state.spread),
            figures={'depth/median': self.summary.median_m[-1], 'time/network': 1e3 * seconds},
        )
