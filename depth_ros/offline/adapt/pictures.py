# SPDX-License-Identifier: Apache-2.0
"""Pictures of the page about adapted weights: depth, and neighbouring images moved by it."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from depth_ros.offline.evaluation import page
from depth_ros.offline.evaluation.drawing import (
    Depth,
    Image8,
    colour_range,
    colourise,
    depth_legend,
    difference_image,
    difference_legend,
    enlarged,
    error_image,
    error_legend,
)

SPARSE = 0.2  #: share of measured pixels below which they are drawn larger
ABOUT_WARPS = (
    '<p>A neighbouring image, as it is and moved to the view by the depth before and after. The '
    'better the depth, the more equal it is to the view; the error shows where it is not. Dark '
    'grey is outside the neighbour.</p>'
)


@dataclass(frozen=True, slots=True)
class Warp:
    """A neighbouring image, moved to a view by two depths.

    Args:
        name: of the neighbour.
        source: (H, W, 3) uint8, as it is.
        before: (H, W, 3) uint8, moved by the depth before.
        after: (H, W, 3) uint8, moved by the depth after.
        error_before: (H, W) photometric error, 0..1; NaN where nothing is seen.
        error_after: the same.
    """

    name: str
    source: Image8
    before: Image8
    after: Image8
    error_before: NDArray[np.float32]
    error_after: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shown:
    """A view before and after.

    Args:
        name: of the image.
        rgb: (H, W, 3) uint8.
        z_before: (H, W) [m]; NaN invalid, +Inf sky.
        z_after: the same.
        truth: (H, W) [m], NaN where not measured; None if there is none.
        warps: of its neighbours.
        held_out: nothing was learnt from it.
    """

    name: str
    rgb: Image8
    z_before: Depth
    z_after: Depth
    truth: Depth | None = None
    warps: Sequence[Warp] = ()
    held_out: bool = False


def about_depth(pictures: Sequence[Shown]) -> str:
    """What the panels of depth show, as HTML."""
    errors = (
        ' Errors are relative to measured depth: white is right; dark grey has no truth.'
        if any(shown.truth is not None for shown in pictures)
        else ' There is no measured depth to compare with.'
    )
    return (
        '<p>Depth is coloured by the logarithm, the same for one view; light grey is sky, black '
        f'has no depth.{errors}</p>'
    )


def depth_panels(shown: Shown) -> Iterator[str]:
    """Depth of a view before and after, and its errors where it was measured, as HTML."""
    depths = [shown.z_before, shown.z_after]
    truth = shown.truth
    near, far = colour_range(truth if truth is not None else np.concatenate(depths))
    legend = depth_legend(near, far)
    yield f'<h3>{html.escape(_title(shown))}</h3><div class="panels three">'
    yield page.panel('image', shown.rgb, photo=True)
    for when, z in zip(('before', 'after'), depths, strict=True):
        yield page.panel(f'depth {when}', colourise(z, near, far), legend)
    if truth is not None:
        there = np.isfinite(truth)
        radius = 2 if there.mean() < SPARSE else 0
        yield page.panel('measured', enlarged(colourise(truth, near, far), there, radius), legend)
        for when, z in zip(('before', 'after'), depths, strict=True):
            wrong = enlarged(error_image(z, truth), there, radius)
            yield page.panel(
                f'error {when}: AbsRel {abs_rel(z, truth):.3f}', wrong, error_legend()
            )
    yield '</div>'


def abs_rel(z: Depth, truth: Depth) -> float:
    """Mean of |z - truth| / truth where both are known; NaN if nowhere."""
    valid = np.isfinite(z) & np.isfinite(truth) & (truth > 0)
    return float(np.abs(z[valid] / truth[valid] - 1).mean()) if valid.any() else math.nan


def warp_panels(shown: Shown) -> Iterator[str]:
    """Neighbours of a view as they are, and moved to it by the depth before and after, as HTML."""
    for warp in shown.warps:
        errors = warp.error_before, warp.error_after
        known = np.concatenate([error[np.isfinite(error)] for error in errors])
        most = max(0.05, float(np.percentile(known, 98))) if known.size else 1.0
        yield f'<h3>{html.escape(_title(shown))}, from {html.escape(warp.name)}</h3>'
        yield '<div class="panels three">'
        yield page.panel('the view', shown.rgb, photo=True)
        for when, moved, error in (
            ('before', warp.before, errors[0]), ('after', warp.after, errors[1]),
        ):  # fmt: skip
            if when == 'after':
                yield page.panel(f'{warp.name} as it is', warp.source, photo=True)
            yield page.panel(f'moved by depth {when}', moved, photo=True)
            mean = float(np.mean(error[np.isfinite(error)])) if np.isfinite(error).any() else 1.0
            drawn = difference_image(error, most)
            yield page.panel(f'error {when}: {mean:.3f}', drawn, difference_legend(most))
        yield '</div>'


def _title(shown: Shown) -> str:
    return f'{shown.name}, held out' if shown.held_out else shown.name
