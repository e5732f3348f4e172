# SPDX-License-Identifier: Apache-2.0
"""The mean of the fields of several fits: over time where the image stays the same."""

from __future__ import annotations

import math

import numpy as np

from depth_ros.pipeline.scaling.fit import Fit
from depth_ros.pipeline.scaling.samples import Floats

#: time over which fields are averaged [s], where camera and scene move and where they stand still
MOVING_S, STANDING_S = 0.15, 1.5
COLOR = 0.1  #: change of colour from which a cell is replaced
#: camera and scene stand still where at most the second part of the cells changes by the first
STILL, MOVING_CELLS = 0.04, 0.05
#: a field stays as it is for the first time, and is gone after the second [s]
STAYS_S, GONE_S = 0.3, 1.5


class FieldMean:
    """Field of one camera, of fits in their order.

    Attributes:
        still: the image of the newest fit is that of the one before.
    """

    def __init__(self) -> None:
        self.still = False
        self._log_field: Floats = np.zeros((1, 1))
        self._rgb: Floats = np.zeros((1, 1, 3))
        self._at_ns = 0
        self._count = 0

    def add(self, new: Fit, stamp_ns: int) -> None:
        """Include the field of a fit; one without a field counts as 1 everywhere."""
        assert new.correction is not None and new.rgb is not None
        field = new.correction.field
        log_field = np.zeros(new.rgb.shape[:2]) if field is None else np.log(field)
        passed_s = (stamp_ns - self._at_ns) * 1e-9
        if not self._count or self._rgb.shape != new.rgb.shape or passed_s > GONE_S:
            self._log_field, self._count, self.still = log_field.astype(np.float64), 1, False
        else:
            self._count += 1
            change = np.abs(new.rgb - self._rgb).max(axis=-1)
            self.still = bool(np.mean(change > STILL) <= MOVING_CELLS)
            averaged_s = STANDING_S if self.still else MOVING_S
            weight = max(1 / self._count, 1 - math.exp(-max(0.0, passed_s) / averaged_s))
            weights = np.where(change > COLOR, 1.0, weight)
            self._log_field = self._log_field + weights * (log_field - self._log_field)
        self._rgb, self._at_ns = new.rgb, stamp_ns

    def at(self, stamp_ns: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None:
        """(h, w) float32, factor on depth; None where it is 1, as long after the newest fit."""
        remains = (GONE_S - (stamp_ns - self._at_ns) * 1e-9) / (GONE_S - STAYS_S)
        log_field = self._log_field * min(1.0, max(0.0, remains))
        # what changes depth by less than 0.1 % is not worth its time
        return np.exp(log_field).astype(np.float32) if np.abs(log_field).max() > 1e-3 else None
