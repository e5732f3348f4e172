# SPDX-License-Identifier: Apache-2.0
"""Lenses of raw cameras, with coefficients as calibrations find them."""

from __future__ import annotations

#: distortion_model -> coefficients
LENSES = {
    'plumb_bob': (-0.28, 0.074, 2e-4, 2e-5, 0.0),
    'rational_polynomial': (0.5, -0.1, 1e-4, 1e-4, 0.01, 0.8, -0.05, 0.02),
    'equidistant': (-0.02, 0.003, -0.001, 1e-4),
}
