# SPDX-License-Identifier: Apache-2.0
"""The page of an evaluation: tables, plots, the worst frames and their cloud, in one file."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from depth_ros.core.geometry import back_project
from depth_ros.offline.evaluation import page
from depth_ros.offline.evaluation.comparison import Result, Shown
from depth_ros.offline.evaluation.drawing import (
    Image8,
    colour_range,
    colourise,
    depth_legend,
    enlarged,
    error_image,
    error_legend,
    median_depth,
)
from depth_ros.offline.evaluation.results import number
from depth_ros.offline.evaluation.scores import ALIGNMENTS, METRICS

TITLES = {
    'metres': 'as predicted, in metres',
    'median': 'after median scaling',
    'affine': 'after scale and shift of inverse depth',
}
HEADS = ('AbsRel', 'SqRel m', 'RMSE m', 'log RMSE', 'SILog', 'delta1', 'delta2', 'delta3')
COLOURS = ('#4cc2ff', '#ffb454', '#7fd962', '#f07178', '#d2a6ff', '#95e6cb', '#8a93a3', '#e6b450')
MAX_POINTS = 15_000  #: of a cloud
LEGEND_PX, ROW_PX = 28, 260  #: of a legend above a plot, and of a row of plots
CLOUDS = 3  #: frames whose cloud is shown
SEQUENCES = 6  #: whose scale is plotted
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
        plots = [
            ('Error by range of the truth', _bands(make_subplots, found), '24rem'),
            ('Error of each frame', _frames(go, found), '24rem'),
            ('Scale over time', *_scales(make_subplots, found)),
        ]
        first = True
        for k, (title, figure, height) in enumerate(plots):
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
    if go is not None and (cloud := _clouds(go, results)) is not None:
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


def _colour(found: dict[str, Any], model: dict[str, Any]) -> str:
    return COLOURS[found['models'].index(model) % len(COLOURS)]


def _grid(figure: Any, rows: int = 1) -> Any:
    grid = {'gridcolor': page.GRID, 'zerolinecolor': page.GRID}
    figure.update_xaxes(automargin=True, **grid)
    figure.update_yaxes(automargin=True, **grid)
    legend = {'orientation': 'h', 'yanchor': 'bottom', 'y': 1 + LEGEND_PX / (rows * ROW_PX)}
    figure.update_layout(legend=legend)
    return figure


def _bands(make_subplots: Any, found: dict[str, Any]) -> Any:
    shown = [n for n in ALIGNMENTS[:2] if any(n in m['errors'] for m in found['models'])]
    shown = shown or ['affine']
    figure = make_subplots(
        1, len(shown), shared_yaxes=True, subplot_titles=[TITLES[n] for n in shown]
    )
    starts = sorted({(b['from_m'], b['to_m']) for m in found['models'] for b in m['bands']})
    order = [_band(*limits) for limits in starts]
    for column, name in enumerate(shown, 1):
        for model in found['models']:
            some = [b for b in model['bands'] if name in b]
            figure.add_scatter(
                x=[_band(b['from_m'], b['to_m']) for b in some],
                y=[round(b[name]['abs_rel'], 4) for b in some],
                text=[f'{b["frames"]} frames, {b["pixels"]} pixels' for b in some],
                name=model['model'],
                legendgroup=model['model'],
                showlegend=column == 1,
                mode='lines+markers',
                line={'color': _colour(found, model)},
                row=1,
                col=column,
            )
    figure.update_xaxes(categoryorder='array', categoryarray=order, type='category')
    figure.update_yaxes(rangemode='tozero')
    figure.update_yaxes(title={'text': 'AbsRel'}, row=1, col=1)
    return _grid(figure)


def _band(start: float, end: float) -> str:
    return f'{start:g} to {end:g} m'


def _frames(go: Any, found: dict[str, Any]) -> Any:
    figure = go.Figure()
    numbers = {f['frame']: None for m in found['models'] for f in m['frames']}
    order = {name: k for k, name in enumerate(numbers, 1)}
    for model in found['models']:
        name = next(iter(model['errors']))
        frames = model['frames']
        figure.add_scatter(
            x=[order[f['frame']] for f in frames],
            y=[round(f[f'{name}_abs_rel'], 4) for f in frames],
            text=[f['frame'] for f in frames],
            name=model['model'] if name == 'metres' else f'{model["model"]}, {TITLES[name]}',
            mode='markers' if len(numbers) < 3 else 'lines+markers',
            line={'color': _colour(found, model), 'width': 1},
            marker={'size': 5},
        )
    figure.update_xaxes(title={'text': 'frame, in order of the inputs'})
    figure.update_yaxes(title={'text': 'AbsRel'}, rangemode='tozero')
    return _grid(figure)


def _scales(make_subplots: Any, found: dict[str, Any]) -> tuple[Any, str]:
    """Ratio of truth to prediction over time, for each sequence, and the height of the plot."""
    names = list(dict.fromkeys(n for m in found['models'] for n in m['sequences']))[:SEQUENCES]
    if not names:
        return None, ''
    figure = make_subplots(len(names), 1, subplot_titles=names, vertical_spacing=0.3 / len(names))
    for row, name in enumerate(names, 1):
        for model in found['models']:
            frames = [f for f in model['frames'] if f['input'] == name]
            if name not in model['sequences']:
                continue
            timed = any(f['time_s'] for f in frames)
            figure.add_scatter(
                x=[round(f['time_s'], 3) if timed else k for k, f in enumerate(frames)],
                y=[round(f['ratio'], 4) for f in frames],
                name=model['model'],
                legendgroup=model['model'],
                showlegend=row == 1,
                mode='lines+markers',
                marker={'size': 4},
                line={'color': _colour(found, model)},
                row=row,
                col=1,
            )
        axis = {'title': {'text': 'time [s]' if timed else 'frame'}}
        figure.update_xaxes(row=row, col=1, **axis)
        figure.update_yaxes(title={'text': 'truth / Z'}, type='log', row=row, col=1)
    return _grid(figure, len(names)), f'{16 * len(names) + 4}rem'


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
        metres = [r.shown[name].z * _factor(r, name) for r in having if r.order_by != 'affine']
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
            scaled = np.asarray(z * _factor(result, name), np.float32)
            yield page.panel(f'{result.label}', colourise(scaled, near, far), legend)
            wrong = enlarged(error_image(scaled, truth), np.isfinite(truth), radius)
            yield page.panel(f'{result.label}: {error}', wrong, error_legend())
        yield '</div>'


def _factor(result: Result, name: str) -> float:
    """With which the depth of a frame is drawn: 1 for metres."""
    if result.order_by == 'metres':
        return 1.0
    return next(row.score.ratio for row in result.rows if row.name == name)


def _clouds(go: Any, results: Sequence[Result]) -> Any:
    """The worst frames as clouds: those of the networks, coloured by the image, and the truth."""
    names = list(dict.fromkeys(n for r in results for n in r.shown))[:CLOUDS]
    figure, of_frame = go.Figure(), []
    for name in names:
        having = [r for r in results if name in r.shown and r.order_by != 'affine']
        if not having:
            continue
        shown = having[0].shown[name]
        distance = median_depth(shown.truth)
        clouds: list[tuple[str, Shown, Any, Image8 | None]] = [('truth', shown, shown.truth, None)]
        for result in having:
            one = result.shown[name]
            z = np.asarray(one.z * _factor(result, name), np.float32)
            clouds.append((result.label, one, z, one.rgb))
        for k, (label, one, z, rgb) in enumerate(clouds):
            of_frame.append(name)
            marker = _points(one, z, rgb, 4 * distance)
            figure.add_scatter3d(
                mode='markers',
                name=label,
                hoverinfo='skip',
                # the truth, and the first network; more would hide each other
                visible=(True if k < 2 else 'legendonly') if name == names[0] else False,
                **marker,
            )
    if not of_frame:
        return None
    style = {'backgroundcolor': page.PAPER, 'gridcolor': page.GRID, 'zerolinecolor': page.GRID}
    axes = {'xaxis': 'right [m]', 'yaxis': 'forward [m]', 'zaxis': 'up [m]'}
    figure.update_layout(
        scene={
            'aspectmode': 'data',
            'camera': {'eye': {'x': 0.6, 'y': -1.5, 'z': 0.5}},
            **{axis: {'title': {'text': title}, **style} for axis, title in axes.items()},
        },
        legend={'itemsizing': 'constant', 'y': 0.98, 'x': 1, 'xanchor': 'right'},
        updatemenus=_menu(of_frame),
    )
    return figure


def _menu(of_frame: list[str]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(of_frame))
    if len(names) < 2:
        return []
    buttons = []
    for name in names:
        ranks = np.cumsum([n == name for n in of_frame])
        visible = [
            (True if rank <= 2 else 'legendonly') if n == name else False
            for n, rank in zip(of_frame, ranks, strict=True)
        ]
        buttons.append({'label': name, 'method': 'restyle', 'args': ['visible', visible]})
    return [{'buttons': buttons, 'x': 0, 'xanchor': 'left', 'y': 1.0, 'yanchor': 'top',
             'bgcolor': '#2b3040', 'font': {'color': page.TEXT}}]  # fmt: skip


def _points(shown: Shown, z: Any, rgb: Image8 | None, farthest: float) -> dict[str, Any]:
    """Coordinates and markers; truth, without colours of the image, is orange."""
    points = back_project(torch.from_numpy(np.ascontiguousarray(z)), shown.camera)
    flat = points.numpy().reshape(-1, 3)
    near = np.flatnonzero(np.nan_to_num(flat[:, 2], nan=np.inf) < farthest)
    if len(near) > MAX_POINTS:  # random, as every n-th point would give stripes
        near = np.sort(np.random.default_rng(0).choice(near, MAX_POINTS, replace=False))
    x, y, depth = flat[near].round(3).T
    colours: Any = '#ffb454'
    if rgb is not None:
        colours = [f'#{r:02x}{g:02x}{b:02x}' for r, g, b in rgb.reshape(-1, 3)[near]]
    # optical frame -> plot: right, forward, up
    return {'x': x, 'y': depth, 'z': -y, 'marker': {'size': 2, 'color': colours}}
