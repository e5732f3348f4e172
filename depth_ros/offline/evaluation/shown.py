# SPDX-License-Identifier: Apache-2.0
"""A frame as the page of an evaluation shows it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.camera import Camera
from depth_ros.offline.evaluation.measured import Depth
from depth_ros.offline.evaluation.network import Predicted

SHOWN_PX = 480  #: width


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame as it is shown, scaled to at most `SHOWN_PX` columns.

    Args:
        rgb: (h, w, 3) uint8, undistorted.
        truth: (h, w) [m].
        z: (h, w) [m], predicted.
        camera: of them.
    """

    rgb: NDArray[np.uint8]
    truth: Depth
    z: Depth
    camera: Camera

    @classmethod
    def of(cls, predicted: Predicted, truth: Depth, camera: Camera) -> Shown:
        """Scaled: colours by averaging, truth by the nearest measurement in each cell."""
        step = max(1, -(-camera.width // SHOWN_PX))
        height, width = camera.height // step, camera.width // step
        cut = truth[: height * step, : width * step].reshape(height, step, width, step)
        filled = np.where(np.isnan(cut), np.inf, cut).min((1, 3))
        first = step // 2
        rgb = predicted.rgb.cpu().numpy()[: height * step, : width * step]
        small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        z = predicted.z[first::step, first::step][:height, :width]
        camera = camera.undistorted().cropped(0, 0, width * step, height * step)
        return cls(
            np.asarray(small, np.uint8),
            np.where(np.isinf(filled), np.nan, filled).astype(np.float32),
            np.asarray(z, np.float32),
            camera.resized(width, height),
        )
