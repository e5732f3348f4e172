# SPDX-License-Identifier: Apache-2.0
"""What the families with one picture in and maps out have in common: several at once."""

from __future__ import annotations

import abc
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from depth_ros.core.types import Frame, Kind, Prediction

Maps = tuple[Tensor, ...]


class BatchedModel(abc.ABC):
    """A `DepthModel` that `TakesBatches`.

    A family prepares the network's input (`network_input`) and interprets its output
    (`postprocess`).
    Pictures whose inputs are of one size share one run of the network.

    Args:
        network: (B, 3 or more, h, w) -> maps (B, ...), one or a tuple of such.
        kind: what the answer means.
    """

    def __init__(self, network: torch.nn.Module, kind: Kind) -> None:
        """`network` is filled, on the device and of the dtype it runs in."""
        self.network: Any = network  # of the family's own class, whose layers tests look into
        self.kind = kind
        self.cuda_graph: Callable[[Tensor], Any] | None = None  #: than `network`, with its answers

    @abc.abstractmethod
    def network_input(self, frame: Frame) -> Tensor:
        """What the network is shown, (C, h, w) of its dtype."""

    @abc.abstractmethod
    def postprocess(self, maps: Maps, frame: Frame) -> Prediction:
        """The network's maps of one picture -> depth for every pixel of `frame`."""

    def predict(self, frame: Frame) -> Prediction:
        """Depth, in the family's unit, for every pixel of an undistorted frame."""
        return self.predict_many([frame])[0]

    @torch.inference_mode()
    def predict_many(self, frames: list[Frame]) -> list[Prediction]:
        """The same of several frames, in their order."""
        inputs = [self.network_input(frame) for frame in frames]
        of_size: dict[torch.Size, list[int]] = defaultdict(list)
        for k, x in enumerate(inputs):
            of_size[x.shape].append(k)
        answers: dict[int, Prediction] = {}
        run = self.cuda_graph or self.network
        for members in of_size.values():
            x = torch.stack([inputs[k] for k in members])
            maps = run(x.contiguous(memory_format=torch.channels_last))
            maps = maps if isinstance(maps, tuple) else (maps,)
            for i, k in enumerate(members):
                answers[k] = self.postprocess(tuple(m[i] for m in maps), frames[k])
        return [answers[k] for k in range(len(frames))]
