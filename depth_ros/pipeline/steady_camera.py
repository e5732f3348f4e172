# SPDX-License-Identifier: Apache-2.0
"""Intrinsics from pictures, for cameras nobody calibrated: steady ones."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from statistics import median

from torch import Tensor

from depth_ros.core.camera import Camera

log = logging.getLogger(__name__)


class SteadyCamera:
    """The median of a network's first estimates, then held: a lens does not change, networks do.

    A focal length that jitters by 5 % makes clouds that breathe by as much. Each size of picture
    has its own estimates. A zoom is not followed: configure anew after one.

    Args:
        estimate: (H, W, 3) uint8 -> the camera that took it, as `EstimatesCamera` has it.
        most: estimates of a size that are asked for; afterwards the network is spared.
    """

    def __init__(self, estimate: Callable[[Tensor], Camera], most: int = 10) -> None:
        """Nothing estimated yet."""
        self._estimate = estimate
        self._most = max(1, most)
        self._seen: dict[tuple[int, int], list[Camera]] = {}
        self._held: dict[tuple[int, int], Camera] = {}
        self.state = 'estimated by the network: no picture yet'  #: in words, for people

    def __call__(self, rgb: Tensor) -> Camera:
        """The camera of pictures of this size, as far as it is known.

        Args:
            rgb: (H, W, 3) uint8, on the network's device.
        """
        size = (rgb.shape[0], rgb.shape[1])
        held = self._held.get(size)
        if held is not None:
            return held
        seen = self._seen.setdefault(size, [])
        seen.append(self._estimate(rgb))
        camera = replace(seen[-1], fx=median(c.fx for c in seen), fy=median(c.fy for c in seen))
        spread = max(c.fx for c in seen) / min(c.fx for c in seen) - 1
        self.state = f'estimated by the network from {len(seen)} pictures'
        if len(seen) == self._most:
            self._held[size] = camera
            self.state += ', held from now on'
            log.info(
                'K of %dx%d is %s: fx %.1f px; the estimates lay within %.1f %%',
                camera.width, camera.height, self.state, camera.fx, 100 * spread,
            )  # fmt: skip
        return camera
