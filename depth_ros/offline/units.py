# SPDX-License-Identifier: Apache-2.0
"""A run cut into units, which give the same files in any process and in any order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from depth_ros.core.errors import DepthRosError
from depth_ros.offline.bag import Bag
from depth_ros.offline.depths import remembers
from depth_ros.offline.inputs import Input, Piece
from depth_ros.offline.plan import Plan
from depth_ros.offline.recorded import Selection
from depth_ros.parameters.settings import Settings

#: images of a piece of a bag are a multiple of this
STEP = 32
#: pictures of a unit, at most
PICTURES = 64
#: units for each worker, if there are fewer inputs: the last ones end at about the same time
UNITS = 4


@dataclass(frozen=True, slots=True)
class Unit:
    """What one worker does without a pause.

    Args:
        inputs: pictures, or one video, bag or piece of a bag.
        selection: which of their images.
        count: of these images, as far as the inputs state it.
        pieces: into how many units the bag is cut.
    """

    inputs: tuple[Input, ...]
    selection: Selection
    count: int
    pieces: int = 1


def chosen(inputs: Sequence[Input], selection: Selection) -> Iterator[Unit]:
    """A unit for each input of which images are used.

    Args:
        inputs: all of them, in order.
        selection: of their images; `every` also chooses among the pictures, and `limit` is for all
            inputs together.
    """
    left, pictures = selection.limit, 0
    for one in inputs:
        if left is not None and left <= 0:
            return
        if not one.is_sequence:
            pictures += 1
            if (pictures - 1) % selection.every:
                continue
            yield Unit((one,), Selection(), 1)
            count = 1
        else:
            its = replace(selection, limit=left)
            count = _count(one, its)
            yield Unit((one,), its, count)
        left = None if left is None else left - count


def _count(one: Input, selection: Selection) -> int:
    """Number of images; without a limit it may be too large for a bag of which times are used.

    To count those, the whole bag must be read.
    """
    if isinstance(one, Bag) and selection.has_times and selection.limit is None:
        return math.ceil(one.count / selection.every)
    try:
        return len(one.names(selection))
    except DepthRosError:  # the one who processes it finds it, too
        return 1


def cut(units: Sequence[Unit], plan: Plan, settings: Settings, workers: int) -> Iterator[Unit]:
    """Units for several workers.

    Pictures are put together. A bag is cut only where that changes no file, and where there are
    fewer inputs than `UNITS` for each worker: the images before a piece are read once more. It is
    one unit

    - where a video or a bag is written: these are written from their beginning on;
    - where an image depends on those before it (`depths.remembers`);
    - where times of the bag are chosen: their number is not known.

    A video is always one unit, since it is decoded from its beginning on.

    Args:
        units: one for each input.
        plan: what is written.
        settings: of the pipeline.
        workers: number of them; 0 for this process, which does not gain by pieces.
    """
    group: list[Unit] = []
    pictures = sum(not u.inputs[0].is_sequence for u in units)
    size = math.ceil(pictures / (UNITS * workers)) if workers else PICTURES
    size = _multiple(min(PICTURES, size), plan.batch)
    pieces = math.ceil(UNITS * workers / max(1, len(units)))
    for unit in units:
        (one,) = unit.inputs
        if not one.is_sequence:
            group.append(unit)
            if len(group) == size:
                yield _together(group)
                group = []
        elif isinstance(one, Bag) and pieces > 1 and _is_cuttable(one, unit, plan, settings):
            length = _multiple(unit.count // pieces, STEP * plan.batch)
            starts = range(0, unit.count, length)
            for first in starts:
                piece = Piece(one, first, min(first + length, unit.count))
                yield replace(unit, inputs=(piece,), count=piece.last - first, pieces=len(starts))
        else:
            yield unit
    if group:
        yield _together(group)


def _multiple(count: int, step: int) -> int:
    """At least `count`, and one `step`, so that batches are the same wherever inputs are cut."""
    return max(1, math.ceil(count / step)) * step


def _together(group: Sequence[Unit]) -> Unit:
    return Unit(tuple(u.inputs[0] for u in group), Selection(), len(group))


def _is_cuttable(one: Bag, unit: Unit, plan: Plan, settings: Settings) -> bool:
    if {'video', 'bag'} & set(plan.kinds) or unit.selection.has_times or unit.count <= STEP:
        return False
    try:
        return not remembers(one, settings)
    except DepthRosError:  # a damaged bag: one worker finds it
        return False


def described(selection: Selection) -> dict[str, Any]:
    """The selection as JSON has it."""
    end_s = selection.end_s
    return {
        'every': selection.every,
        'start_s': selection.start_s,
        'end_s': end_s if end_s < math.inf else None,
        'limit': selection.limit,
    }
