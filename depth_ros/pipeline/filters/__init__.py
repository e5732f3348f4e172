# SPDX-License-Identifier: Apache-2.0
"""Filters of depth maps, on their device. `Filters` applies all of them in one order.

1. `range` marks what is no depth, too near or too far;
2. sky becomes +Inf, whatever depth the network gives it;
3. `confidence` marks what the network is not certain of;
4. pixels outside of the lens's field of view become NaN;
5. `median` smooths;
6. `edges` marks what is in the air between two surfaces.

A filter marks pixels or changes finite depths: NaN, +Inf and -Inf stay what they are.
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


class Filters:
    """The filters of one camera."""

    def __call__(
        self,
        z: Tensor,
        prediction: Prediction,
        frame: Frame,
        settings: Settings,
        seen: Tensor | None = None,
    ) -> Tensor:
        """Filter the depth of the camera's next frame.

        Args:
            z: (H, W) float32 [m] as scaled: may be zero, negative or NaN.
            prediction: what `z` was made from.
            frame: undistorted, of `z`.
            settings: of this frame.
            seen: (H, W) bool, False outside the lens's field of view; None for everywhere True.

        Returns:
            (H, W) float32 [m]: NaN invalid, +Inf sky or beyond range, -Inf too near (REP 117).
        """
        z = limited(z, settings.range.min, settings.range.max or torch.inf)
        if prediction.sky is not None:
            z = torch.where(prediction.sky, torch.inf, z)
        z = certain(z, prediction.confidence, settings.min_confidence)
        if seen is not None:
            z = torch.where(seen, z, torch.nan)
        z = smoothed(z, settings.filters.median)
        return without_flying_pixels(z, settings.filters.edges)
