# SPDX-License-Identifier: Apache-2.0
"""The way of a frame through the node without ROS: bytes of an image in, bytes of a cloud out."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from depth_ros.core import encode
from depth_ros.core.camera import Camera
from depth_ros.core.errors import DepthRosError
from depth_ros.core.types import DepthMap, Frame
from depth_ros.messages.images import Upload
from depth_ros.models import DepthModel
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.filters import Filters
from depth_ros.pipeline.filters.clouds import surfaces, thinning
from depth_ros.ros.outputs.message_buffer import MessageBuffer
from tools.bench.stages import image
from tools.bench.timing import Call, Copier, stage_row, statistics, time_interleaved

BUDGET_S = 0.6  #: for timing the path of one network
#: of the rows
TITLES = ('image to cloud, no ROS: ', 'the same, overlapping: ')
PERIOD_NS = 33_000_000
FRAMES = 200  #: at most, one begun before the last is complete


@dataclass(frozen=True, slots=True)
class Pending:
    """A cloud whose bytes may still be copied from a GPU.

    Args:
        depth: what it was made of; kept because its memory must not be reused before.
        buffer: where the bytes arrive.
        arrived: event after the copy; None on a CPU.
    """

    depth: DepthMap
    buffer: MessageBuffer
    arrived: torch.cuda.Event | None


class DevicePath:
    """What `ros.stream.Stream` and `ros.outputs.Outputs` do for one camera and topic `points`.

    `begin`, `prepare` and `complete` are the steps of the node's worker; on a GPU `begin` of the
    next frame comes before `complete` of this one.

    Args:
        model: on the device.
        settings: of filters and clouds.
        device: of the model.
        camera: of the images.
    """

    def __init__(
        self, model: DepthModel, settings: Settings, device: torch.device, camera: Camera
    ) -> None:
        self.pipeline = Pipeline(model, settings, device)
        self.camera, self.device = camera, device
        self._stamp_ns = 0  # the temporal filter wants time to pass
        self._upload, self._filters = Upload(device), Filters()
        self._buffers = {name: MessageBuffer() for name in ('whole', 'valid', 'kept')}
        self._stream: torch.cuda.Stream | None = None
        if device.type == 'cuda':
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def begin(self, message: Any) -> DepthMap:
        """Upload and infer; on a GPU this only queues the work.

        Args:
            message: as sensor_msgs/Image.

        Raises:
            DepthRosError: the network or its scaling fails.
        """
        self._stamp_ns += PERIOD_NS
        frame = Frame(self._upload(message), self.camera, self._stamp_ns)
        (depth,) = self.pipeline.many([frame], self.pipeline.snapshot, [self._filters])
        if isinstance(depth, DepthRosError):
            raise depth
        return depth

    def prepare(self, depth: DepthMap) -> Pending:
        """The cloud; on a GPU on another CUDA stream than the network's."""
        if self._stream is None:
            return Pending(depth, self._cloud(depth), None)
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            buffer = self._cloud(depth)
            return Pending(depth, buffer, _event(self.device))

    def complete(self, pending: Pending) -> array[int]:
        """The bytes of the cloud, when they have arrived; the next cloud reuses their memory."""
        if pending.arrived is not None:
            pending.arrived.synchronize()
        message = SimpleNamespace()
        pending.buffer.give_to(message)
        data: array[int] = message._data
        return data

    def __call__(self, message: Any) -> array[int]:
        """One frame after the other."""
        return self.complete(self.prepare(self.begin(message)))

    def overlapped(self, messages: Iterator[Any]) -> Iterator[array[int]]:
        """The next frame is begun before this one is complete, as in `ros.worker`."""
        in_flight: Pending | None = None
        for message in messages:
            depth = self.begin(message)
            if in_flight is not None:
                yield self.complete(in_flight)
            in_flight = self.prepare(depth)
            if self._stream is not None:
                _event(self.device).synchronize()  # the network's end
        if in_flight is not None:
            yield self.complete(in_flight)

    def _cloud(self, depth: DepthMap) -> MessageBuffer:
        """As `ros.outputs.clouds.CloudBuffer.fill`."""
        points = self.pipeline.snapshot.settings.points
        depth = surfaces(depth, points, points.stride)
        out, on_cpu = None, self._stream is None
        if on_cpu:
            shape = (*encode.cloud_size(depth.camera, points.stride), 4)
            out = self._buffers['whole'].floats(*shape)
        cloud, name = encode.cloud(depth, points.stride, points.color, out), 'whole'
        if not points.organized:
            cloud, name = self._dense(cloud, depth)
        if not on_cpu:
            self._buffers[name].copy_from(cloud)
        return self._buffers[name]

    def _dense(self, whole: Tensor, depth: DepthMap) -> tuple[Tensor, str]:
        points = self.pipeline.snapshot.settings.points
        valid = encode.dense(whole, depth.z, self._buffers['valid'].floats)
        name = 'whole' if valid.numel() == whole.numel() else 'valid'
        kept = thinning(points)
        if kept is None:
            return valid, name
        some = encode.selected(valid, kept(valid), self._buffers['kept'].floats)
        return some, name if some is valid else 'kept'


def _event(device: torch.device) -> torch.cuda.Event:
    """After all that is queued so far."""
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def rows(
    title: str, path: DevicePath, budget_s: float = BUDGET_S, *, in_turn: bool = True
) -> Iterator[dict[str, Any]]:
    """Time a path one frame after the other; on a GPU then with the next frame begun before.

    Args:
        title: of the rows.
        path: to time.
        budget_s: for each of the two [s].
        in_turn: time the copy of the cloud's bytes in turn, too.
    """
    height, width = path.camera.size
    rgb = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8)
    frame = Frame(rgb, path.camera)
    messages = [image(frame, 'rgb8', 3) for _ in range(2)]
    messages[1].data.reverse()  # another image
    data = [path(message) for message in messages * 3][-1]  # also captures CUDA graphs
    size = len(data)
    calls: dict[str, Call] = {'stage': lambda: path(messages[0])}
    if in_turn:
        calls['memcpy'] = Copier(size)
    times = time_interleaved(calls, budget_s=budget_s, warm=True)
    yield stage_row(f'{TITLES[0]}{title}', width, height, size, times)
    if path.device.type != 'cuda':
        return
    rate, latencies = _overlapped(path, messages, budget_s)
    row = stage_row(f'{TITLES[1]}{title}', width, height, size, {'stage': statistics(latencies)})
    yield {**row, 'clouds_hz': round(rate, 1)}


def _overlapped(
    path: DevicePath, messages: list[Any], budget_s: float
) -> tuple[float, list[float]]:
    """Clouds per second, and the time of each from its image to its bytes [s]."""
    began: list[float] = []
    end = time.perf_counter() + budget_s

    def camera() -> Iterator[Any]:
        while len(began) < FRAMES and (len(began) < 10 or time.perf_counter() < end):
            began.append(time.perf_counter())
            yield messages[len(began) % 2]

    times = [time.perf_counter() - began[k] for k, _ in enumerate(path.overlapped(camera()))]
    return len(times) / (time.perf_counter() - began[0]), times
