# SPDX-License-Identifier: Apache-2.0
"""Constant intrinsics of an uncalibrated camera, from estimates of a network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from statistics import median

from torch import Tensor

from depth_ros.core.camera import Camera

log = logging.getLogger(__name__)


class SteadyCamera:
    """K is the median of the first estimates and is then frozen.

    The estimates of a network vary between images; a focal length that varies by 5 % would scale
    the clouds by as much. Each image size has its own estimates. A zoom is not followed: configure
    the node again after zooming.

    Args:
        estimate: (H, W, 3) uint8 image -> camera, as `EstimatesCamera.estimate_camera`.
        samples: number of estimates for each image size.
        label: begins the log line, to distinguish several cameras.

    Attributes:
        state: description for log and diagnostics.
    """

    def __init__(
        self, estimate: Callable[[Tensor], Camera], samples: int = 10, label: str = ''
    ) -> None:
        self._estimate = estimate
        self._label = label
        self._samples = max(1, samples)
        self._estimates: dict[tuple[int, int], list[Camera]] = {}
        self._frozen: dict[tuple[int, int], Camera] = {}
        self.state = 'estimated by the network: no image yet'

    def __call__(self, rgb: Tensor) -> Camera:
        """Camera of images of this size: the median of the estimates up to now.

        Args:
            rgb: (H, W, 3) uint8, on the device of the network.
        """
        size = (rgb.shape[0], rgb.shape[1])
        frozen = self._frozen.get(size)
        if frozen is not None:
            return frozen
        cameras = self._estimates.setdefault(size, [])
        cameras.append(self._estimate(rgb))
        fx, fy = median(c.fx for c in cameras), median(c.fy for c in cameras)
        camera = replace(cameras[-1], fx=fx, fy=fy)
        spread = max(c.fx for c in cameras) / min(c.fx for c in cameras) - 1
        self.state = f'estimated by the network from {len(cameras)} images'
        if len(cameras) == self._samples:
            self._frozen[size] = camera
            self.state += ', frozen'
            log.info(
                '%sK of %dx%d is %s: fx %.1f px; the estimates differ by at most %.1f %%',
                self._label, camera.width, camera.height, self.state, camera.fx, 100 * spread,
            )  # fmt: skip
        return camera
