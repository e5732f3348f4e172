# SPDX-License-Identifier: Apache-2.0
"""What an evaluation found, as plain values, and as JSON, CSV and text."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import depth_ros
from depth_ros.checkpoints import typed_json
from depth_ros.offline.evaluation.comparison import Comparison, Result, Row
from depth_ros.offline.evaluation.scores import ALIGNMENTS, METRICS

SHARES = ('missing', 'sky', 'too_near', 'beyond')
#: of the CSV before the metrics
COLUMNS = ('model', 'input', 'frame', 'time_s', 'pixels', *SHARES, 'ratio')


def summary(
    comparison: Comparison, results: Sequence[Result], skipped: Sequence[str], command: str
) -> dict[str, Any]:
    """Everything but single pixels, by name; NaN where something is not known.

    Args:
        comparison: its inputs and limits.
        results: of networks and baselines.
        skipped: a line for each input that could not be used.
        command: the command line.
    """
    used = {row.source for result in results for row in result.rows}
    return {
        'depth_ros': depth_ros.__version__,
        'command': command,
        'compared': {'near_m': comparison.near, 'far_m': comparison.far},
        'inputs': [
            {
                'name': source.name,
                'path': str(source.path),
                'truth': source.layout,
                'without_depth_at_their_time': comparison.lacking.get(source.name, (0, 0.0))[0],
                'tae_of_truth': comparison.truth_tae.get(source.name, math.nan),
            }
            for source in comparison.sources
            if source.name in used
        ],
        'skipped': [*skipped, *reasons(comparison)],
        'models': [_of_model(result) for result in results if result.rows],
    }


def reasons(comparison: Comparison) -> list[str]:
    """Lines: why images of the inputs were not used."""
    lines = [
        f'{text}{f" ({n} images)" if n > 1 else ""}' for text, n in comparison.skipped.items()
    ]
    for source in comparison.sources:
        if source.name in comparison.lacking:
            number, least_s = comparison.lacking[source.name]
            lines.append(
                f'{source.path}: {number} images have no depth at their time; the closest is '
                f'{1e3 * least_s:.3g} ms away (--max-offset)'
            )
    return lines


def _of_model(result: Result) -> dict[str, Any]:
    by_input: dict[str, list[Row]] = {}
    for row in result.rows:
        by_input.setdefault(row.source, []).append(row)
    return {
        'model': result.label,
        'about': result.about,
        'milliseconds': 1e3 * float(np.median(result.seconds)) if result.seconds else math.nan,
        **means(result.rows, result.alignments),
        'bands': bands(result.rows, result.alignments),
        'inputs': {name: means(rows, result.alignments) for name, rows in by_input.items()},
        'sequences': {
            name: {
                **asdict(found),
                'tae': result.tae.get(name, math.nan),
                'tae_after_one_factor': result.tae_scaled.get(name, math.nan),
            }
            for name, found in result.drifts.items()
        },
        'frames': [flat(result, row) for row in result.rows],
    }


def means(rows: Sequence[Row], alignments: Iterable[str]) -> dict[str, Any]:
    """Means over frames, each with the same weight: shares, and metrics by alignment."""
    scores = [row.score for row in rows]
    return {
        'frames_compared': len(scores),
        'pixels': sum(s.pixels for s in scores),
        **{share: float(np.mean([getattr(s, share) for s in scores])) for share in SHARES},
        'errors': {
            name: {
                metric: float(np.mean([getattr(s.errors[name], metric) for s in scores]))
                for metric in METRICS
            }
            for name in alignments
        },
    }


def bands(rows: Sequence[Row], alignments: Iterable[str]) -> list[dict[str, Any]]:
    """By range of the truth: frames, pixels, and means over the frames that have it."""
    found: dict[tuple[float, float], list[tuple[int, dict[str, tuple[float, float]]]]] = {}
    for row in rows:
        for start, end, pixels, errors in row.score.bands:
            found.setdefault((start, end), []).append((pixels, errors))
    return [
        {
            'from_m': start,
            'to_m': end,
            'frames': len(some),
            'pixels': sum(pixels for pixels, _ in some),
            **{
                name: dict(
                    zip(
                        ('abs_rel', 'delta1'),
                        np.mean([errors[name] for _, errors in some], 0).tolist(),
                        strict=True,
                    )
                )
                for name in alignments
            },
        }
        for (start, end), some in sorted(found.items())
    ]


def flat(result: Result, row: Row) -> dict[str, Any]:
    """One frame as a row of the CSV; metrics that mean nothing for the network are NaN."""
    score = row.score
    values = {
        'model': result.label,
        'input': row.source,
        'frame': row.name,
        'time_s': row.time_s,
        'pixels': score.pixels,
        **{share: getattr(score, share) for share in SHARES},
        'ratio': score.ratio if 'median' in result.alignments else math.nan,
    }
    for name in ALIGNMENTS:
        for metric in METRICS:
            known = name in result.alignments
            values[f'{name}_{metric}'] = getattr(score.errors[name], metric) if known else math.nan
    return values


def write_json(path: Path, found: dict[str, Any]) -> None:
    """Write `summary`; NaN becomes null, as JSON has none."""
    path.write_text(json.dumps(typed_json.known(found), indent=1) + '\n')


def write_csv(path: Path, found: dict[str, Any]) -> None:
    """Write a row for each frame and model; empty where something is not known."""
    names = [*COLUMNS, *(f'{a}_{m}' for a in ALIGNMENTS for m in METRICS)]
    with path.open('w', newline='') as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for model in found['models']:
            writer.writerows(
                {k: '' if isinstance(v, float) and math.isnan(v) else v for k, v in frame.items()}
                for frame in model['frames']
            )


def number(value: float | None, digits: int = 3) -> str:
    """For a table; empty for what is not known."""
    return '' if value is None or math.isnan(value) else f'{value:.{digits}f}'


def text(found: dict[str, Any]) -> str:
    """The means as a table for a terminal."""
    models = found['models']
    width = max(len(model['model']) for model in models) + 2
    compared = found['compared']
    lines = [
        f'{len(found["inputs"])} inputs; truth from {compared["near_m"]:g} to '
        f'{compared["far_m"]:g} m; means over frames',
        '',
        f'{"":{width}}frames  NaN %  sky %   AbsRel  delta1   AbsRel  delta1   AbsRel  delta1',
        f'{"":{width}}                     {"as predicted":>17}{"median scaled":>17}'
        f'{"scale, shift":>17}',
    ]
    for model in models:
        cells = ''
        for name in ALIGNMENTS:
            errors = model['errors'].get(name, {})
            cells += f'{number(errors.get("abs_rel")):>9}{number(errors.get("delta1")):>8}'
        lines.append(
            f'{model["model"]:{width}}{model["frames_compared"]:6}'
            f'{100 * model["missing"]:7.1f}{100 * model["sky"]:7.1f}{cells}'
        )
    rows = [
        (f'{model["model"]}: {name}', sequence)
        for model in models
        for name, sequence in model['sequences'].items()
        if model['milliseconds'] == model['milliseconds']  # no baselines
    ]
    if rows:
        width = max(len(name) for name, _ in rows) + 2
        lines += ['', f'{"sequences":{width}}  truth/z  spread %  jitter %  slope %/s   TAE %']
        for name, s in rows:
            shown = [s['median'], 100 * s['spread'], 100 * s['jitter'], 100 * s['slope']]
            tae = s['tae'] if s['tae'] == s['tae'] else s['tae_after_one_factor']
            cells = ''.join(
                f'{number(v, d):>{w}}'
                for v, d, w in zip([*shown, 100 * tae], (3, 1, 1, 2, 2), (9, 10, 10, 11, 8),
                                   strict=True)
            )  # fmt: skip
            lines.append(f'{name:{width}}{cells}')
    return '\n'.join(lines)
