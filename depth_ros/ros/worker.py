# SPDX-License-Identifier: Apache-2.0
"""The thread that takes the newest image of each camera, infers and publishes."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from rclpy.lifecycle import LifecycleNode

from depth_ros.core.errors import DepthRosError, ScaleError, in_words
from depth_ros.core.types import DepthMap, Frame
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.ros.inputs.newest import LatestImages, View
from depth_ros.ros.inputs.second_view import Motion, Stereo
from depth_ros.ros.outputs.publishers import PendingMessages, record_event
from depth_ros.ros.process.log import Throttle
from depth_ros.ros.stream import Stream, Work

T = TypeVar('T')
THREAD_NAME = 'depth'


class Worker:
    """From the newest images through the network to the outputs, until `images` is closed.

    Each image is admitted, inferred, prepared and sent. Whatever goes wrong with it ends in
    `_report`.

    Args:
        node: for its log.
        streams: the cameras, in the order of `images`.
        images: where images come from.
        pipeline: makes depth of frames.
        second_view: makes depth of the frames of one camera and a second view; None for one view.
        after: an earlier worker with the same network, which must have finished first.
        on_gpu_lost: called with the reason when no further work on the GPU is possible.
    """

    def __init__(
        self,
        node: LifecycleNode,
        streams: list[Stream],
        images: LatestImages,
        pipeline: Pipeline,
        second_view: Stereo | Motion | None = None,
        after: Worker | None = None,
        on_gpu_lost: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.node = node
        self.log = node.get_logger()
        self.streams = streams
        self.images = images
        self.pipeline = pipeline
        self.second_view = second_view
        self._throttle = Throttle()
        self._stopped = False
        self._after = after
        self._on_gpu_lost = on_gpu_lost
        # a daemon, so that a network that takes minutes cannot keep the process
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def stop(self, patience_s: float) -> bool:
        """Take no more images; True if the frames in progress finish within `patience_s`."""
        self.images.close()
        self._thread.join(patience_s)
        self._stopped = self._thread.is_alive()
        return not self._stopped

    def _run(self) -> None:
        if self._after is not None:
            self._after._thread.join()
            self._after = None
        overlaps = any(stream.overlaps_inference for stream in self.streams)
        in_flight: list[tuple[Work, PendingMessages]] = []
        while (fresh := self.images.take(wait=not in_flight)) is not None:
            depths = self._infer(self._admit(fresh))
            self._send(in_flight)  # while a GPU infers
            in_flight = self._prepare(depths)
            if not overlaps:
                self._send(in_flight)
                in_flight = []
        self._send(in_flight)

    def _admit(self, fresh: list[tuple[int, list[View]]]) -> list[tuple[Work, list[Frame]]]:
        """Decode the images of which an output is wanted."""
        started_s, snapshot = time.monotonic(), self.pipeline.snapshot
        admitted = []
        for k, views in fresh:
            stream = self.streams[k]
            work = self._guarded(stream, stream.admit, views, snapshot, started_s)
            if work and (frames := self._guarded(stream, stream.frames, work)):
                admitted.append((work, frames))
                stream.statistics.busy_since_s = started_s
        return admitted

    def _infer(self, admitted: list[tuple[Work, list[Frame]]]) -> list[tuple[Work, DepthMap]]:
        """The depth of each; a GPU may not have finished."""
        inferred = []
        for (work, _), outcome in zip(admitted, self._outcomes(admitted), strict=True):
            if isinstance(outcome, DepthMap):
                inferred.append((work, outcome))
            else:
                self._report(work.stream, outcome)
        return inferred

    def _prepare(self, depths: list[tuple[Work, DepthMap]]) -> list[tuple[Work, PendingMessages]]:
        """The messages of each; on a GPU when its network is done, their data being copied."""
        prepared = []
        for work, depth in depths:
            if pending := self._guarded(work.stream, work.stream.prepare, depth, work):
                prepared.append((work, pending))
        if prepared and self.pipeline.device.type == 'cuda':
            # an image taken earlier would wait for the network, and no longer be the newest
            device = self.pipeline.device
            self._guarded(prepared[0][0].stream, lambda: record_event(device).synchronize())
        return prepared

    def _send(self, prepared: list[tuple[Work, PendingMessages]]) -> None:
        for work, pending in prepared:
            if not self._stopped:
                self._guarded(work.stream, work.stream.send, pending, work)

    def _outcomes(self, admitted: list[tuple[Work, list[Frame]]]) -> list[DepthMap | Exception]:
        """The depth of each camera's frames, or why there is none."""
        if not admitted:
            return []
        snapshot = admitted[0][0].snapshot
        try:
            if self.second_view is not None:
                return [self.second_view(frames, snapshot) for _, frames in admitted]
            frames = [frame for _, (frame,) in admitted]
            streams = [work.stream for work, _ in admitted]
            filters, scales = [s.filters for s in streams], [s.scale for s in streams]
            return [*self.pipeline.many(frames, snapshot, filters, scales)]
        except Exception as error:
            if len(admitted) == 1:
                return [error]
            reason = in_words(error)
            if self._throttle.due(reason, f'{len(admitted)} at once'):
                self.log.warning(f'{len(admitted)} cameras at once: {reason}; each is tried alone')
            _release_frames(error)
        # the fault of one camera must not cost the others their frames
        return [self._outcomes([one])[0] for one in admitted]

    def _guarded(self, stream: Stream, action: Callable[..., T], *args: Any) -> T | None:
        """The action's result; None if it failed, which is reported.

        The last resort: whatever one image causes, the next one is processed.
        """
        try:
            return action(*args)
        except Exception as error:
            self._report(stream, error)
            return None

    def _report(self, stream: Stream, error: Exception) -> None:
        """Log, count and show in diagnostics why an image has no depth."""
        counters = stream.statistics.counters
        message = in_words(error)
        if self._stopped or not self.node.context.ok():  # nothing to publish to
            _release_frames(error)
            return
        unscaled = isinstance(error, ScaleError)
        counters.unscaled += unscaled
        counters.failed += not unscaled
        stream.statistics.trouble = message
        if self._throttle.due(message, stream.name):
            text = stream.label + message
            # one line of code for each severity: rclpy refuses to change it
            if unscaled:
                self.log.warning(text)
            else:
                self.log.error(text)
        stream.statistics.busy_since_s = None
        if not isinstance(error, DepthRosError):
            if _gpu_is_lost(self.pipeline.device):
                self._on_gpu_lost(message)
            self.log.debug(''.join(traceback.format_exception(error)))
        _release_frames(error)


def _gpu_is_lost(device: torch.device) -> bool:
    """Whether CUDA refuses all further work, as after an illegal memory access."""
    if device.type != 'cuda':
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False


def _release_frames(error: BaseException | None) -> None:
    """Drop the tracebacks of an error, which refer to the images it passed through."""
    while error is not None:
        error.__traceback__, error = None, error.__cause__ or error.__context__
