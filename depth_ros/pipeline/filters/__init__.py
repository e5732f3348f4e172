# SPDX-License-Identifier: Apache-2.0
"""Filters of depth maps, on their device. `Filters` applies all of them in one order.

1. `range` marks what is no depth, too near or too far;
2. sky becomes +Inf, whatever depth the network gives it;
3. `confidence` marks what the network is not certain of;
4. pixels outside of the lens's field of view become NaN;
5. `temporal` averages over time; the range is marked again;
6. `median` averages over neighbours;
7. `edges` marks what is in the air between two surfaces.

A filter marks pixels or changes finite depths: NaN, +Inf and -Inf stay what they are. Only
`temporal` can be allowed to keep depth for some frames where it becomes NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor

from depth_ros.core.types import Frame, Prediction
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.filters.confidence import certain
from depth_ros.pipeline.filters.edges import without_flying_pixels
from depth_ros.pipeline.filters.median import smoothed
from depth_ros.pipeline.filters.range import limited
from depth_ros.pipeline.filters.temporal import Temporal


class Filters:
    """The filters of one camera, with what they remember of its frames."""

    def __init__(self) -> None:
        self._temporal = Temporal()
        self._tiles: dict[int, Filters] = {}

    def of_tile(self, number: int) -> Filters:
        """The filters of one of the pinholes that a wide lens is rendered as."""
        return self._tiles.setdefault(number, Filters())

    def __call__(
        self,
        z: Tensor,
        prediction: Prediction,
        frame: Frame,
        settings: Settings,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Filter the depth of the camera's next frame.

        Args:
            z: (H, W) float32 [m] as scaled: may be zero, negative or NaN.
            prediction: what `z` was made from.
            frame: undistorted, of `z`.
            settings: of this frame.
            seen: (H, W) bool, False outside the lens's field of view; None for everywhere True.

        Returns:
            (H, W) float32 [m]: NaN invalid, +Inf sky or beyond range, -Inf too near (REP 117); and
            the same before `edges`, for `DepthMap.free_z`.
        """
        near, far = settings.range.min, settings.range.max or torch.inf
        z = limited(z, near, far)
        if prediction.sky is not None:
            z = torch.where(prediction.sky, torch.inf, z)
        z = certain(z, prediction.confidence, settings.min_confidence)
        z = _seen(z, seen)
        filters = settings.filters
        if filters.temporal > 0 or filters.temporal_hold > 0:
            z = self._temporal(z, frame, filters, settings.scaling)
            z = _seen(limited(z, near, far), seen)
        else:
            self._temporal.clear()
        z = smoothed(z, filters.median)
        return without_flying_pixels(z, filters.edges, prediction.normals, frame.camera), z


def _seen(z: Tensor, seen: Tensor | None) -> Tensor:
    return z if seen is None else torch.where(seen, z, torch.nan)
