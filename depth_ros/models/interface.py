# SPDX-License-Identifier: Apache-2.0
"""What the pipeline asks of a network, and what a network's family is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from depth_ros.checkpoints.source import Source
from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame, Kind, Pair, Prediction
from depth_ros.parameters.settings import Onnx


class DepthModel(Protocol):
    """What a family returns from `load`."""

    kind: Kind

    def predict(self, frame: Frame) -> Prediction:
        """Depth, in the model's own unit, for every pixel of an undistorted frame."""
        ...


@runtime_checkable
class TakesBatches(Protocol):
    """A `DepthModel` to which several frames at once are cheaper than one by one."""

    def predict_many(self, frames: list[Frame]) -> list[Prediction]:
        """What `predict` says of each; their cameras may differ."""
        ...


@runtime_checkable
class EstimatesCamera(Protocol):
    """A `DepthModel` that can tell the camera from its picture."""

    def estimate_camera(self, rgb: Tensor) -> Camera:
        """The camera that took (H, W, 3) uint8."""
        ...


@runtime_checkable
class TakesPairs(Protocol):
    """A `DepthModel` that also takes two views."""

    def predict_pair(self, first: Frame, second: Frame) -> Pair:
        """Depth of the first and where the second stood; both undistorted."""
        ...


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What a family needs besides its preset.

    Args:
        weights: the checkpoint file; None for families without one.
        device: where to infer.
        dtype: arithmetic of the network.
        threads: CPU threads.
        input_size: side the input is scaled to [px]; 0 takes the preset's.
        max_tokens: cap on transformer patches.
        tile_batch: tiles of a picture in memory at once, Depth Pro only; 0 is as the device bears.
        onnx: description of the network, family `onnx` only.
        estimate_camera: also load what `EstimatesCamera` needs.
    """

    weights: Path | None = None
    device: torch.device = field(default_factory=lambda: torch.device('cpu'))
    dtype: torch.dtype = torch.float32
    threads: int = 1
    input_size: int = 0
    max_tokens: int = 5000
    tile_batch: int = 0
    onnx: Onnx = field(default_factory=Onnx)
    estimate_camera: bool = False


@dataclass(frozen=True, slots=True)
class Preset:
    """One row of the table.

    Args:
        name: what the parameter `model` says.
        family: folder under depth_ros/models.
        variant: what the family calls it.
        kind: what its output means; None: config/models/<preset>.yaml says (onnx.kind).
        source: of its weights.
        paper: where the network is described.
        max_depth: farthest depth the network can say [m]; 0 if it has no such limit.
        casts: False if the family does not follow the parameter `precision`.
        estimates_camera: the model is one that `EstimatesCamera`.
        takes_pairs: the model is one that `TakesPairs`.
        advice: what a user of it should know; logged at each start.
    """

    name: str
    family: str
    variant: str
    kind: Kind | None
    source: Source
    paper: str = ''
    max_depth: float = 0.0
    casts: bool = True
    estimates_camera: bool = False
    takes_pairs: bool = False
    advice: str = ''
