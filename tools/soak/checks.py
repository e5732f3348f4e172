# SPDX-License-Identifier: Apache-2.0
"""What must be true of the images that were sent, the outputs that arrived and the counters."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.soak.node import depth_m

Sent = Mapping[str, Mapping[int, dict[str, Any]]]  #: camera -> stamp [ns] -> line of `camera`
SCALES = (1.0, 1.37)  #: of the parameter scaling.scale; the schedule sets no others
#: images that have come but are in no other counter: one waits, one is with the network
IN_PROGRESS = 2
#: levels by which an encoding may change a flat grey image
LEVEL_ERROR = {'yuv422_yuy2': 2.0, 'nv12': 2.0}
JPEG_ERROR = 1.0  #: the same for compressed images
SHOWN = 5  #: of problems of one kind
FORGET_S = 10.0  #: an older camera_info than this is a fault


@dataclass(frozen=True, slots=True)
class Seen:
    """An output that arrived.

    Args:
        life: number of the node's life.
        camera: its name.
        output: relative topic.
        stamp: of its header [ns].
        at: monotonic time of arrival [s].
        low: least finite depth [m]; of a depth/camera_info focal length by width.
        high: greatest finite depth [m].
    """

    life: int
    camera: str
    output: str
    stamp: int
    at: float
    low: float
    high: float


def outputs(sent: Sent, seen: Sequence[Seen]) -> tuple[dict[str, Any], list[str]]:
    """Check each output: it was sent, arrived once, and its depth is that of its own image.

    The node may use a camera_info that is a few images old: it does not wait for the one of the
    same stamp if frame_id and size agree. Such outputs are counted.

    Returns:
        Figures, and problems in words.
    """
    problems: list[str] = []
    older: Counter[str] = Counter()
    histories = {camera: [*lines.values()] for camera, lines in sent.items()}
    times = Counter((s.camera, s.output, s.stamp) for s in seen)
    problems += [f'{k} arrived {n} times' for k, n in times.items() if n > 1]
    for s in seen:
        line = sent[s.camera].get(s.stamp)
        if line is None:
            problems.append(f'{s.camera}/{s.output} has stamp {s.stamp}, which was never sent')
            continue
        if np.isnan(s.low):
            problems.append(f'{s.camera}/{s.output} {s.stamp} has no finite value')
        elif not fits(s, line, line['focal']):
            if any(fits(s, line, focal) for focal in recent_focals(histories[s.camera], line)):
                older[s.output] += 1
            else:
                problems.append(
                    f'{s.camera}/{s.output} {s.stamp} ({line["encoding"]}, level {line["level"]}, '
                    f'focal {line["focal"]}) has {s.low:.4f} to {s.high:.4f}'
                )
    figures: dict[str, Any] = {'arrived': dict(Counter(s.output for s in seen))}
    figures['with_an_older_camera_info'] = dict(older)
    figures['latency_ms'] = latency_ms(sent, seen)
    return figures, problems


def fits(s: Seen, line: Mapping[str, Any], focal: float) -> bool:
    """Whether an output is that of an image with this focal length (by the width)."""
    if s.output == 'depth/camera_info':
        return abs(s.low - focal) < 1e-6 and abs(s.high - focal) < 1e-6
    # where images are sent both ways, which one the node took is not known
    error = max(
        LEVEL_ERROR.get(line['encoding'], 0.0), JPEG_ERROR if line.get('compressed') else 0.0
    )
    for scale in SCALES:
        low, high = (scale * depth_m(line['level'] + e, focal) for e in (-error, error))
        if low * 0.999 - 1e-3 <= s.low <= s.high <= high * 1.001 + 1e-3:
            return True
    return False


def recent_focals(history: Sequence[Mapping[str, Any]], line: Mapping[str, Any]) -> set[float]:
    """Focal lengths of the images of a camera in the `FORGET_S` before one of them."""
    first, last = (
        bisect_right(history, at, key=lambda o: o['at'])
        for at in (line['at'] - FORGET_S, line['at'])
    )
    return {o['focal'] for o in history[first:last]}


def latency_ms(sent: Sent, seen: Sequence[Seen]) -> dict[str, float]:
    """Percentiles of the time between sending an image and the arrival of its depth [ms]."""
    waits = [
        1e3 * (s.at - sent[s.camera][s.stamp]['at'])
        for s in seen
        if s.output == 'depth/image' and s.stamp in sent[s.camera]
    ]
    if not waits:
        return {}
    names, ranks = ('p50', 'p95', 'p99', 'max'), (50, 95, 99, 100)
    return {n: round(float(np.percentile(waits, q)), 1) for n, q in zip(names, ranks, strict=True)}


def open_images(counters: Mapping[str, int]) -> int:
    """Images that came and are in no other counter."""
    return counters['received'] - sum(n for name, n in counters.items() if name != 'received')


def accounts(
    lives: Sequence[Mapping[str, Any]],
    counters: Sequence[tuple[int, str, float, dict[str, int]]],
    sent: Sent,
    seen: Sequence[Seen],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Check the counters of every diagnostic: what came = published + reasons + in progress.

    Args:
        lives: of the node; each with life, start_s and end_s (monotonic) and `quiet`, the counters
            of each camera when no more images came, or empty.
        counters: life, camera, time of arrival and counters of each diagnostic.
        sent: images.
        seen: outputs.

    Returns:
        For each life and camera the latest counters, and problems in words.
    """
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    arrived = Counter((s.life, s.camera) for s in seen if s.output == 'depth/image')
    latest: dict[tuple[int, str], dict[str, int]] = {}
    for number, camera, _, values in counters:
        who = f'life {number}, {camera}'
        if not 0 <= open_images(values) <= IN_PROGRESS:
            problems.append(f'{who}: {open_images(values)} images without a reason: {values}')
        before = latest.get((number, camera), values)
        if any(values[name] < before[name] for name in values):
            problems.append(f'{who}: counters went back from {before} to {values}')
        latest[number, camera] = values
    for life in lives:
        for camera, lines in sent.items():
            key = life['life'], camera
            last: dict[str, int] | None = life['quiet'].get(camera) or latest.get(key)
            if last is None:
                continue
            during = sum(life['start_s'] <= o['at'] <= life['end_s'] for o in lines.values())
            row = {'life': life['life'], 'camera': camera, 'sent': during, **last}
            row['arrived'] = arrived[key]
            row['to_the_frame'] = camera in life['quiet']
            rows.append(row)
            who = f'life {life["life"]}, {camera}'
            if last['received'] > during:
                problems.append(f'{who}: received {last["received"]} of {during} images')
            if row['to_the_frame'] and open_images(last):
                problems.append(f'{who}: when quiet {open_images(last)} without a reason: {row}')
            if row['to_the_frame'] and row['arrived'] > last['published']:
                problems.append(f'{who}: {row["arrived"]} arrived of {last["published"]}')
    return rows, problems


def shortened(problems: Sequence[str]) -> list[str]:
    """At most `SHOWN` that differ in numbers only, and how many more there are."""
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(''.join(c for c in problem if not c.isdigit()), []).append(problem)
    result = []
    for some in kinds.values():
        result += some[:SHOWN]
        if len(some) > SHOWN:
            result.append(f'... and {len(some) - SHOWN} more like this')
    return result
