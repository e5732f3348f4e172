# SPDX-License-Identifier: Apache-2.0
"""The factor between two sets of camera positions that differ by a similarity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MANY = 10  # positions from which on wrong ones are left out
DRAWS = 10
SEED = 42  # the result does not depend on chance


def position_scale(estimated: Array, known: Array) -> float:
    """Factor c of the similarity that moves known positions closest to estimated ones.

    From `MANY` positions on those that are off are left out: of several fits to half of the
    positions that with the most positions close to it decides.

    Args:
        estimated: (V, 3), V >= 2.
        known: (V, 3), not all at one place.

    Returns:
        c >= 0 that minimises sum |estimated - (c R known + t)|^2 over rotations R and shifts t. It
        needs the singular values only, so it is also defined for positions on a line, of which R
        is not unique; for two it is the ratio of their distances.

    Source: Umeyama 1991, Least-squares estimation of transformation parameters. Depth Anything 3
    (arXiv 2511.10647) has the same limits for what is left out.
    """
    count = len(estimated)
    if count < MANY:
        return _similarity(estimated, known)[0]
    close = _nearest(_moved(known, *_similarity(estimated, known)), estimated)
    limit = float(np.median(close))
    best, chosen = (-1, -np.inf), np.ones(count, bool)
    random = np.random.default_rng(SEED)
    for _ in range(DRAWS):
        draw = random.choice(count, size=(count + 1) // 2, replace=False)
        moved = _moved(known, *_similarity(estimated[draw], known[draw]))
        error = np.linalg.norm(moved - estimated, axis=1)
        agree = error <= limit
        score = (int(agree.sum()), -float(error[agree].mean()) if agree.any() else -np.inf)
        if score > best:
            best, chosen = score, agree
    if chosen.sum() < 3:
        chosen[:] = True
    return _similarity(estimated[chosen], known[chosen])[0]


def _similarity(estimated: Array, known: Array) -> tuple[float, Array, Array]:
    """c, R (3, 3) and t (3,) of `position_scale`, of all positions."""
    p, g = estimated - estimated.mean(0), known - known.mean(0)
    u, d, v = np.linalg.svd(p.T @ g)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(v))])  # no mirror image
    scale = float((d * sign).sum() / (g**2).sum())
    rotation = u * sign @ v
    return scale, rotation, estimated.mean(0) - scale * rotation @ known.mean(0)


def _moved(positions: Array, scale: float, rotation: Array, shift: Array) -> Array:
    return scale * positions @ rotation.T + shift


def _nearest(positions: Array, others: Array) -> Array:
    """Distance of each position from the nearest of the others."""
    distances: Array = np.linalg.norm(positions[:, None] - others, axis=2).min(1)
    return distances
