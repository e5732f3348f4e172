# SPDX-License-Identifier: Apache-2.0
"""The thread that takes the newest image of each camera, infers and publishes."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode

from depth_ros.core.errors import DepthRosError, ScaleError
from depth_ros.core.types import DepthMap, Frame
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.ros.inputs.newest import LatestImages, View
from depth_ros.ros.outputs.publishers import Ready, mark
from depth_ros.ros.process.log import Throttle
from depth_ros.ros.stream import Stream

Depths = list[DepthMap | Exception]
#: whose it is, its depth or why there is none, header of the image, when work on it began [s]
Inferred = tuple[Stream, DepthMap | Exception, Any, float]
#: whose it is, messages on their way, header of the image, when work on it began [s]
Job = tuple[Stream, Ready, Any, float]


class Worker:
    """From `inboxes` through the network to the cameras' outputs, until the inboxes are closed.

    Args:
        node: for its log.
        streams: the cameras, in the order of `inboxes`.
        inboxes: where images come from.
        pipeline: what makes depth of frames.
        two_views: what makes depth of the frames of one camera and a second view, if that is
            wanted.
    """

    def __init__(
        self,
        node: LifecycleNode,
        streams: list[Stream],
        inboxes: LatestImages,
        pipeline: Pipeline,
        two_views: Callable[..., DepthMap] | None = None,
    ) -> None:
        """Start the thread."""
        self.node = node
        self.log = node.get_logger()
        self.streams = streams
        self.inboxes = inboxes
        self.pipeline = pipeline
        self.two_views = two_views
        self.ahead = any(stream.ahead for stream in streams)
        self._throttle = Throttle()
        self._thread = threading.Thread(target=self._run, name='depth')
        self._thread.start()

    def join(self) -> None:
        """Wait for the frames at hand; close the inboxes first."""
        self._thread.join()

    def _run(self) -> None:
        under_way: list[Job] = []
        while (fresh := self.inboxes.take(wait=not under_way)) is not None:
            inferred = self._infer([(self.streams[k], images) for k, images in fresh])
            self._send(under_way)  # while a GPU is at those
            under_way = self._prepare(inferred)
            if not self.ahead:
                self._send(under_way)
                under_way = []
        self._send(under_way)

    def _infer(self, fresh: list[tuple[Stream, list[View]]]) -> list[Inferred]:
        """Decode all and infer at once; a GPU may be at work yet."""
        started_s = time.monotonic()
        todo = []
        for stream, images in fresh:
            if frames := self._tried(stream, stream.frames, images):
                todo.append((stream, images[0][0].header, frames))
        depths = self._depths([frames for _, _, frames in todo]) if todo else []
        return [
            (stream, depth, header, started_s)
            for (stream, header, _), depth in zip(todo, depths, strict=True)
        ]

    def _prepare(self, inferred: list[Inferred]) -> list[Job]:
        """The messages of each; on a GPU on their way, when its network is done."""
        jobs = []
        for stream, depth, header, started_s in inferred:
            if ready := self._tried(stream, self._messages, stream, depth, header):
                jobs.append((stream, ready, header, started_s))
        if jobs and self.pipeline.device.type == 'cuda':
            # an image taken before would wait for the network, and be no longer the newest
            self._tried(jobs[0][0], lambda: mark(self.pipeline.device).synchronize())
        return jobs

    def _send(self, jobs: list[Job]) -> None:
        """Publish each."""
        for stream, *job in jobs:
            self._tried(stream, stream.send, *job)

    def _depths(self, todo: list[list[Frame]]) -> Depths:
        """Depth of each camera's frame, or frame and second view; or why there is none."""
        try:
            if self.two_views is not None:
                return [self.two_views(*frames) for frames in todo]
            return list(self.pipeline.many([frame for (frame,) in todo]))
        except Exception as error:
            if len(todo) < 2:
                return [error for _ in todo]
            trouble = f'{type(error).__name__}: {error}'
            if self._throttle.due(trouble, f'{len(todo)} at once'):
                self.log.warning(f'{len(todo)} cameras at once: {trouble}; each is tried alone')
            _let_go(error)
        # what is wrong with one camera is no reason to lose the others
        return [self._depths([frames])[0] for frames in todo]

    def _messages(self, stream: Stream, depth: DepthMap | Exception, header: Any) -> Ready:
        if isinstance(depth, Exception):
            raise depth
        return stream.prepare(depth, header)

    def _tried(self, stream: Stream, action: Callable[..., Any], *args: Any) -> Any:
        """The action's result; None if it failed, which is said and counted.

        The last edge: whatever a driver throws at one frame, the next one is tried.
        """
        try:
            return action(*args)
        except ScaleError as error:
            stream.counters.unscaled += 1
            if text := self._news(stream, str(error)):
                self.log.warning(text)
            _let_go(error)
        except DepthRosError as error:
            self._fail(stream, str(error))
            _let_go(error)
        except Exception as error:
            if self.node.context.ok():  # else it is shut down in mid-frame: nothing to publish to
                self._fail(stream, f'{type(error).__name__}: {error}')
                self.log.debug(''.join(traceback.format_exception(error)))
            _let_go(error)
        return None

    def _fail(self, stream: Stream, trouble: str) -> None:
        stream.counters.failed += 1
        if text := self._news(stream, trouble):
            self.log.error(text)

    def _news(self, stream: Stream, trouble: str) -> str:
        """What to log; '' if it was said a moment ago."""
        stream.trouble = trouble
        text = f'{stream.name}: {trouble}' if stream.name else trouble
        return text if self._throttle.due(trouble, stream.name) else ''


def _let_go(error: BaseException | None) -> None:
    """Cut the cycle from a kept error to the pictures in the frames it passed through."""
    while error is not None:
        error.__traceback__, error = None, error.__cause__ or error.__context__
