# SPDX-License-Identifier: Apache-2.0
"""Base class of the families whose network takes one image and can run several as a batch."""

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

    A family implements `network_input` (preprocessing) and `postprocess`. Inputs of the same size
    are run as one batch.

    Args:
        network: (B, C, h, w) with C >= 3 -> one map (B, ...) or a tuple of maps; with weights, on
            the device and in the dtype of inference.
        kind: meaning of the prediction.

    Attributes:
        engine: runs in place of `network` if it is set, with the same output.
    """

    def __init__(self, network: torch.nn.Module, kind: Kind) -> None:
        self.network: Any = network  # of the family's own class, whose layers tests access
        self.kind = kind
        self.engine: Callable[[Tensor], Any] | None = None

    @abc.abstractmethod
    def network_input(self, frame: Frame) -> Tensor:
        """Preprocess a frame: the input of the network, (C, h, w), in its dtype."""

    @abc.abstractmethod
    def postprocess(self, maps: Maps, frame: Frame) -> Prediction:
        """Convert output maps of one image, without the batch axis, to the pixels of `frame`."""

    def predict(self, frame: Frame) -> Prediction:
        """Predict depth for every pixel of a frame.

        Args:
            frame: undistorted, (H, W), on the device of the network.

        Returns:
            Prediction of `self.kind` with (H, W) float32 values.
        """
        return self.predict_many([frame])[0]

    @torch.inference_mode()
    def predict_many(self, frames: list[Frame]) -> list[Prediction]:
        """Predict depth of several frames, which may differ in size.

        Args:
            frames: undistorted, on the device of the network.

        Returns:
            One prediction for each frame, in the order of `frames`.
        """
        inputs = [self.network_input(frame) for frame in frames]
        by_size: dict[torch.Size, list[int]] = defaultdict(list)
        for k, x in enumerate(inputs):
            by_size[x.shape].append(k)
        predictions: dict[int, Prediction] = {}
        run = self.engine or self.network
        for members in by_size.values():
            x = torch.stack([inputs[k] for k in members])
            maps = run(x.contiguous(memory_format=torch.channels_last))
            maps = maps if isinstance(maps, tuple) else (maps,)
            for i, k in enumerate(members):
                predictions[k] = self.postprocess(tuple(m[i] for m in maps), frames[k])
        return [predictions[k] for k in range(len(frames))]
