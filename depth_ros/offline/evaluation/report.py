# SPDX-License-Identifier: Apache-2.0
"""The page of an evaluation: tables, plots, the worst frames and their cloud, in one file."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from depth_ros.offline.evaluation import page, plots
from depth_ros.offline.evaluation.comparison import Result
from depth_ros.offline.evaluation.drawing import (
    colour_range,
    colourise,
    depth_legend,
    enlarged,
    error_image,
    error_legend,
)
from depth_ros.offline.evaluation.plots import TITLES
from depth_ros.offline.evaluation.results import number
from depth_ros.offline.evaluation.scores import ALIGNMENTS, METRICS

HEADS = ('AbsRel', 'SqRel m', 'RMSE m', 'log RMSE', 'SILog', 'delta1', 'delta2', 'delta3')
SPARSE = 0.2  #: share of measured pixels below which they are drawn larger
EXPLAINED = (
    ('AbsRel', 'mean of |Z - truth| / truth; 0.1 is 10 %'),
    ('SqRel', 'mean of (Z - truth)² / truth'),
    ('RMSE', 'root of the mean of (Z - truth)²'),
    ('log RMSE', 'the same of the natural logarithms'),
    ('SILog', '100 times the standard deviation of ln Z - ln truth: the error without scale'),
    ('delta1, 2, 3', 'share of pixels with max(Z / truth, truth / Z) below 1.25, 1.25², 1.25³'),
    ('median scaling', 'depth of each image is multiplied so that its median is right'),
    ('scale and shift', 'inverse depth of each image is fitted to 1 / truth by least squares'),
    ('NaN', 'share of pixels with a truth in range that have no prediction; in no other figure'),
    ('sky', 'share of them predicted as sky or beyond range; they count as the end of the range'),
    ('beyond', 'share of measured pixels whose truth is out of range; in no other figure'),
    ('truth / Z', 'median of the ratio in a frame: the factor that would make its scale right'),
    ('spread, jitter, slope', 'of the logarithm of truth / Z over a sequence: standard deviation, '
     'median step from frame to frame, change per second'),
    ('TAE', 'temporal alignment error: points of a frame, moved by the known poses into the next '
     'one and back, compared with its depth; mean of the relative differences. That of the truth '
     'is what poses, calibration and motion alone cause'),
)  # fmt: skip


def write(path: Path, found: dict[str, Any], results: Sequence[Result]) -> bool:
    """Write the page.

    Args:
        path: of the file.
        found: of `results.summary`.
        results: of the networks, with the frames to show.

    Returns:
        Whether it has plots, for which plotly must be installed.
    """
    try:
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots
    except ImportError:
        go = make_subplots = None
    names = ', '.join(m['model'] for m in found['models'] if not math.isnan(m['milliseconds']))
    parts = [page.start(f'Depth against measured depth: {names}'), _about(found)]
    parts += ['<h2>Means over frames</h2>', *_means(found)]
    parts += _by_input(found)
    if go is not None:
        drawings = [
            ('Error by range of the truth', plots.bands(make_subplots, found), '24rem'),
            ('Error of each frame', plots.frames(go, found), '24rem'),
            ('Scale over time', *plots.scales(make_subplots, found)),
        ]
        first = True
        for k, (title, figure, height) in enumerate(drawings):
            if figure is not None:
                drawn = page.plot(figure, f'plot{k}', height, first=first, top_px=65)
                parts.append(f'<h2>{title}</h2>{drawn}')
                first = False
    else:
        parts.append(
            '<p><b>There are no plots and no cloud to turn</b>, as plotly is not installed: '
            '<code>pip install plotly</code>, then run the command again.</p>'
        )
    parts += _sequences(found)
    parts += ['<h2>Worst frames</h2>', _of_frames(results), *_worst(results)]
    if go is not None and (cloud := plots.clouds(go, results)) is not None:
        parts += [
            '<h2>Cloud of the worst frames (drag to turn, click the legend to hide)</h2>',
            page.plot(cloud, 'cloud', 'min(75vh, 95vw)', first=first),
        ]
    parts += ['<h2>What the figures mean</h2>', page.table(('', ''), EXPLAINED)]
    if found['skipped']:
        lines = ''.join(f'<li>{html.escape(line)}</li>' for line in found['skipped'])
        parts.append(f'<h2>Not used</h2><ul>{lines}</ul>')
    parts.append('</body></html>')
    path.write_text('\n'.join(parts))
    return go is not None


def _about(found: dict[str, Any]) -> str:
    limits = found['compared']
    about = ''.join(
        f'<li>{html.escape(model["model"])}: {html.escape(model["about"])}</li>'
        for model in found['models']
    )
    return (
        f'<p>Pixels are compared where the truth is {limits["near_m"]:g} to '
        f'{limits["far_m"]:g} m. Every frame has the same weight in a mean. Made by depth_ros '
        f'{found["depth_ros"]}:</p><p><code>{html.escape(found["command"])}</code></p>'
        f'<ul>{about}</ul>'
    )


def _means(found: dict[str, Any]) -> Iterator[str]:
    models = found['models']
    yield '<div class="wide">'
    yield page.table(
        ('', 'frames', 'pixels', 'NaN %', 'sky %', 'too near %', 'beyond %', 'ms per image'),
        [
            (
                m['model'],
                m['frames_compared'],
                m['pixels'],
                *(number(100 * m[s], 1) for s in ('missing', 'sky', 'too_near', 'beyond')),
                number(m['milliseconds'], 1),
            )
            for m in models
        ],
    )
    for name in ALIGNMENTS:
        rows = [
            (m['model'], *(number(m['errors'][name][metric]) for metric in METRICS))
            for m in models
            if name in m['errors']
        ]
        if rows:
            yield page.table((TITLES[name], *HEADS), rows)
    yield '</div>'


def _by_input(found: dict[str, Any]) -> Iterator[str]:
    if len(found['inputs']) < 2:
        return
    models = found['models']
    rows = []
    for one in found['inputs']:
        cells = [_first_error(m['inputs'].get(one['name'])) for m in models]
        rows.append((one['name'], one['truth'], *cells))
    head = ('input', 'truth', *(m['model'] for m in models))
    yield '<h2>AbsRel by input, as predicted where the network has metres</h2><div class="wide">'
    yield page.table(head, rows)
    yield '</div>'


def _first_error(means: dict[str, Any] | None) -> str:
    return number(next(iter(means['errors'].values()))['abs_rel']) if means else ''


def _sequences(found: dict[str, Any]) -> Iterator[str]:
    truth = {one['name']: one['tae_of_truth'] for one in found['inputs']}
    rows = [
        (
            name,
            model['model'],
            s['frames'],
            number(s['median']),
            *(number(100 * s[key], 1) for key in ('spread', 'jitter')),
            *(number(100 * s[key], 2) for key in ('slope', 'tae', 'tae_after_one_factor')),
            number(100 * truth.get(name, math.nan), 2),
        )
        for model in found['models']
        for name, s in model['sequences'].items()
    ]
    if rows:
        head = ('sequence', '', 'frames', 'truth / Z', 'spread %', 'jitter %', 'slope %/s',
                'TAE %', 'TAE %, one factor', 'TAE of truth %')  # fmt: skip
        yield '<h2>Sequences</h2><div class="wide">'
        yield page.table(head, sorted(rows))
        yield '</div>'


def _of_frames(results: Sequence[Result]) -> str:
    first = next((r for r in results if r.shown), None)
    if first is None:
        return ''
    return (
        f'<p>By AbsRel, {TITLES[first.order_by]}: those of {html.escape(first.label)}, with the '
        'same frames of the others, then their own. Depth is coloured by the logarithm, the same '
        'for truth and predictions; light grey is sky, black has no prediction, dark grey no '
        f'truth. Errors are those of depth {TITLES[first.order_by]}. Sparse truth is drawn '
        'larger.</p>'
    )


def _worst(results: Sequence[Result]) -> Iterator[str]:
    for name in dict.fromkeys(n for r in results for n in r.shown):
        having = [r for r in results if name in r.shown]
        shown = having[0].shown[name]
        metres = [
            r.shown[name].z * plots.factor(r, name) for r in having if r.order_by != 'affine'
        ]
        near, far = colour_range(np.concatenate([shown.truth, *metres]))
        legend = depth_legend(near, far)
        truth = shown.truth
        radius = 2 if np.isfinite(truth).mean() < SPARSE else 0
        yield f'<h3>{html.escape(name)}</h3><div class="panels four">'
        yield page.panel('image', shown.rgb)
        drawn = enlarged(colourise(truth, near, far), np.isfinite(truth), radius)
        yield page.panel('truth', drawn, legend)
        for result in having:
            z = result.shown[name].z
            row = next(row for row in result.rows if row.name == name)
            error = f'AbsRel {result.error(row):.3f}'
            if result.order_by == 'affine':  # its depth has no unit
                own = colour_range(z)
                yield page.panel(
                    f'{result.label}, without a unit; {error} {TITLES["affine"]}',
                    colourise(z, *own),
                )
                continue
            scaled = np.asarray(z * plots.factor(result, name), np.float32)
            yield page.panel(f'{result.label}', colourise(scaled, near, far), legend)
            wrong = enlarged(error_image(scaled, truth), np.isfinite(truth), radius)
            yield page.panel(f'{result.label}: {error}', wrong, error_legend())
        yield '</div>'
