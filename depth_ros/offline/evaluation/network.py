# SPDX-License-Identifier: Apache-2.0
"""A network for an evaluation, with or without metres."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depth_ros import models
from depth_ros.core.errors import ConfigError, DepthRosError
from depth_ros.core.geometry import undistort
from depth_ros.core.types import Frame, Kind
from depth_ros.offline.evaluation.scores import ALIGNMENTS, Depth
from depth_ros.offline.load import check, load
from depth_ros.parameters import layers
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.build import Choices
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.filters import Filters
from depth_ros.pipeline.scaling import MEASURED

FAR = 80.0  #: largest depth that is compared without a limit of the networks [m]
#: parameters that change clouds and colours, not depth
_OF_OUTPUTS = ('points.', 'colorized.', 'floor.')
_SCALING = ('scaling.scale', 'scaling.shift', 'scaling.method')


@dataclass(frozen=True, slots=True)
class Choice:
    """A network that was asked for.

    Args:
        label: of it in reports.
        values: parameters, by name, as `offline.load.load` takes them.
        settings: with those of the preset.
        kind: meaning of its output; None for `model` auto.
        has_metres: its depth is in metres; else only what is aligned can be compared.
        there: of `offline.load.has`.
    """

    label: str
    values: Mapping[str, Any]
    settings: Settings
    kind: Kind | None
    has_metres: bool
    there: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, label: str, values: Mapping[str, Any], there: frozenset[str] = frozenset()
    ) -> Choice:
        """Check the parameters; a network without metres gets a scale of 1.

        Args:
            label: of the network in reports.
            values: parameters, by name.
            there: of `offline.load.has`.

        Raises:
            ConfigError: they cannot work, or have no effect on an evaluation.
        """
        name = values['model']
        check(values, there)
        useless = [n for n in values if n.startswith(_OF_OUTPUTS)]
        if useless:
            raise ConfigError(
                f'{useless[0]} has no effect on depth, so none on what is compared: remove it'
            )
        changed = [n for n in values if n.startswith('undistort.')]
        if changed:
            raise ConfigError(
                f'{changed[0]} has no effect here: measured depth is compared in the undistorted '
                'image with the intrinsics of the lens: remove it'
            )
        settings = layers.with_values(Settings(), layers.layered(values, name))
        if any(settings.anchors.sources) or settings.scaling.method in MEASURED:
            raise ConfigError(
                'depth from anchors cannot be compared here: the measured depth would be both '
                "input and truth. Leave anchors.sources and scaling.method 'anchors' out"
            )
        kind = None
        if name != 'auto':
            preset = models.get(name)
            of_hub = 'transformers' in preset.takes
            stated = settings.transformers.kind if of_hub else settings.onnx.kind
            kind = preset.kind or (Kind(stated) if stated else None)
        has_metres = True
        if kind in (Kind.SCALE_INVARIANT, Kind.AFFINE_INVERSE) and not any(
            n in values for n in _SCALING
        ):
            values = {**values, 'scaling.method': 'constant'}
            has_metres = False
        return cls(label, values, settings, kind, has_metres, there)

    @property
    def alignments(self) -> tuple[str, ...]:
        """Of `scores.ALIGNMENTS`, those that mean something for this network."""
        if self.has_metres:
            return ALIGNMENTS
        return ALIGNMENTS[1:] if self.kind is Kind.SCALE_INVARIANT else ALIGNMENTS[2:]


def limits(
    choices: list[Choice], near: float | None = None, far: float | None = None
) -> tuple[float, float]:
    """Depths between which truth is compared [m], the same for all networks.

    Args:
        choices: the networks.
        near: smallest; None for the largest range.min of the networks.
        far: largest; None for the smallest range.max of the networks, `FAR` if none has one.

    Raises:
        ConfigError: the second is not the greater one.
    """
    ends = [c.settings.range.max for c in choices if c.settings.range.max]
    near = max(c.settings.range.min for c in choices) if near is None else near
    far = min(ends, default=FAR) if far is None else far
    if not near < far:
        raise ConfigError(f'depth is compared from {near:g} to {far:g} m: --far must be greater')
    return near, far


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a network says of a frame.

    Args:
        z: (H, W) float32 [m], as `DepthMap.z`.
        values: (H, W) float32, affine-inverse depth before scale and shift, else None.
        raw: (H, W) float32, in metres up to a factor, without filters and limits; for
            affine-inverse networks `values`. NaN where the network says sky.
        rgb: (H, W, 3) uint8, undistorted.
        seconds: without reading the image.
    """

    z: Depth
    values: Depth | None
    raw: Depth
    rgb: Tensor
    seconds: float


class Network:
    """A loaded network.

    Args:
        choice: what was asked for.

    Attributes:
        choices: what was loaded.

    Raises:
        DepthRosError: as of `offline.load.load`.
    """

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.pipeline: Pipeline
        self.choices: Choices
        try:
            self.pipeline, self.choices = load(choice.values, choice.there)
        except DepthRosError as error:
            raise type(error)(f'{choice.label}: {error}') from error
        self.is_affine = self.pipeline.model.kind is Kind.AFFINE_INVERSE

    @torch.inference_mode()
    def __call__(self, frame: Frame, filters: Filters) -> Predicted:
        """Depth of a frame, as `depth-ros run` and the node have it.

        Args:
            frame: on the device of the network.
            filters: of the sequence, with what they remember.

        Raises:
            InferenceError: the output is no depth map.
        """
        start_s = time.monotonic()
        pipeline, snapshot = self.pipeline, self.pipeline.snapshot
        pinhole, seen = undistort(frame)
        prediction = pipeline.model.predict(pinhole)
        depth = pipeline.depth_map(prediction, pinhole, snapshot, seen, filters=filters)
        depth.ensure_finite()
        seconds = time.monotonic() - start_s
        values = prediction.values
        raw = values if self.is_affine else snapshot.scaling(prediction, pinhole.camera)
        for valid in (seen, None if prediction.sky is None else ~prediction.sky):
            if valid is not None:
                raw = torch.where(valid, raw, torch.nan)
        return Predicted(
            depth.z.cpu().numpy(),
            values.cpu().numpy() if self.is_affine else None,
            np.asarray(raw.cpu().numpy(), np.float32),
            depth.rgb,
            seconds,
        )
