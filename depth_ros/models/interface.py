# SPDX-License-Identifier: Apache-2.0
"""Protocols of a model, and the options and presets with which it is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.checkpoints.source import Source
from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame, Kind, MultiView, Prediction
from depth_ros.parameters.settings import Onnx, Transformers


class DepthModel(Protocol):
    """A network with its preprocessing and postprocessing, as returned by `load`.

    Attributes:
        kind: meaning of its predictions.
    """

    kind: Kind

    def predict(self, frame: Frame) -> Prediction:
        """Predict depth for every pixel of an undistorted frame: (H, W) float32 of `kind`."""
        ...


@runtime_checkable
class TakesBatches(Protocol):
    """A `DepthModel` that can run several frames as a batch."""

    def predict_many(self, frames: list[Frame]) -> list[Prediction]:
        """Predict depth of each frame, in order; their cameras may differ."""
        ...


@runtime_checkable
class EstimatesCamera(Protocol):
    """A `DepthModel` that can estimate the intrinsics from an image."""

    def estimate_camera(self, rgb: Tensor) -> Camera:
        """Estimate the intrinsics of the camera that took an image (H, W, 3) uint8."""
        ...


@runtime_checkable
class TakesViews(Protocol):
    """A `DepthModel` that can also predict from two or more views of a scene.

    Attributes:
        scale_memory: over how many runs the factor from its lengths to metres may be averaged; 1
            if it chooses another unit in each run.
    """

    scale_memory: int

    def predict_views(
        self, frames: Sequence[Frame], known: Sequence[NDArray[np.float64]] | None = None
    ) -> MultiView:
        """Predict depth of the first view and the poses of the other cameras.

        Args:
            frames: undistorted, of overlapping images; at most `Preset.max_views`.
            known: T_first_other (4, 4) [m] of each view but the first; None if not known. A
                network that cannot use known poses ignores them.

        Raises:
            ConfigError: the network does not take so many views.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Options with which a preset is loaded.

    Args:
        weights: checkpoint file; None for families without weights.
        device: device of the network.
        dtype: arithmetic of the network.
        threads: CPU threads.
        input_size: side to which the image is resized [px]; 0 is the default of the preset.
        max_tokens: largest number of patches of a transformer.
        tile_batch: tiles of an image in one batch, Depth Pro only; 0 depends on the device.
        onnx: description of the network, family `onnx` only.
        transformers: the same, family `transformers` only.
        estimate_camera: also load the layers that `EstimatesCamera` needs.
        views: how many views are predicted at once; with more than one, also load the layers that
            `TakesViews` needs.
        normals: also load the layers that estimate surface normals, if the network has them.
        max_depth: largest depth a fine-tuned network was trained with [m]; 0: that of the preset.
        exportable: without layers that only torch has.
        without_weights: the network has no memory and cannot run, as an engine runs in its place.
    """

    weights: Path | None = None
    device: torch.device = field(default_factory=lambda: torch.device('cpu'))
    dtype: torch.dtype = torch.float32
    threads: int = 1
    input_size: int = 0
    max_tokens: int = 5000
    tile_batch: int = 0
    onnx: Onnx = field(default_factory=Onnx)
    transformers: Transformers = field(default_factory=Transformers)
    estimate_camera: bool = False
    views: int = 1
    normals: bool = True
    max_depth: float = 0.0
    exportable: bool = False
    without_weights: bool = False


@dataclass(frozen=True, slots=True)
class TrainingView:
    """Field of view of the images that a network was trained with.

    Args:
        horizontal_deg: [deg]; of several cameras the widest.
        vertical_deg: [deg], likewise.
        source: data set whose camera it is, for people.
    """

    horizontal_deg: float
    vertical_deg: float
    source: str

    def __str__(self) -> str:
        """In one line."""
        return f'{self.horizontal_deg:.0f} x {self.vertical_deg:.0f} deg ({self.source})'

    def exceeded(self, horizontal_deg: float, vertical_deg: float) -> float:
        """How many times wider a field of view is, as the mean of both axes."""
        across = horizontal_deg / self.horizontal_deg
        return math.sqrt(across * vertical_deg / self.vertical_deg)


@dataclass(frozen=True, slots=True)
class Preset:
    """One row of the table.

    Args:
        name: value of the parameter `model`.
        family: folder under depth_ros/models.
        variant: name of the variant within the family.
        kind: meaning of its predictions; None if a parameter or the file defines it.
        source: published weights.
        paper: address of the paper.
        max_depth: largest depth the network can predict [m]; 0 if unlimited.
        casts: False if the family ignores the parameter `precision`.
        estimates_camera: the model is an `EstimatesCamera`.
        max_views: of a scene at once; the model is a `TakesViews` if they are more than one.
        takes: those of `parameters.settings.ABILITIES` that it has.
        advice: note for users, logged at each start.
        trained: field of view of its training images; None where that is not published, or of many
            cameras.
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
    max_views: int = 1
    takes: frozenset[str] = frozenset()
    advice: str = ''
    trained: TrainingView | None = None
