# SPDX-License-Identifier: Apache-2.0
"""The plots of an evaluation's page, by plotly, and the clouds to turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from depth_ros.core.geometry import back_project
from depth_ros.offline.evaluation import page
from depth_ros.offline.evaluation.comparison import Result
from depth_ros.offline.evaluation.drawing import Image8, median_depth
from depth_ros.offline.evaluation.scores import ALIGNMENTS
from depth_ros.offline.evaluation.shown import Shown

TITLES = {
    'metres': 'as predicted, in metres',
    'median': 'after median scaling',
    'affine': 'after scale and shift of inverse depth',
}
COLOURS = ('#4cc2ff', '#ffb454', '#7fd962', '#f07178', '#d2a6ff', '#95e6cb', '#8a93a3', '#e6b450')
MAX_POINTS = 15_000  #: of a cloud
LEGEND_PX, ROW_PX = 28, 260  #: of a legend above a plot, and of a row of plots
CLOUDS = 3  #: frames whose cloud is shown
SEQUENCES = 6  #: whose scale is plotted


def _colour(found: dict[str, Any], model: dict[str, Any]) -> str:
    return COLOURS[found['models'].index(model) % len(COLOURS)]


def _grid(figure: Any, rows: int = 1) -> Any:
    grid = {'gridcolor': page.GRID, 'zerolinecolor': page.GRID}
    figure.update_xaxes(automargin=True, **grid)
    figure.update_yaxes(automargin=True, **grid)
    legend = {'orientation': 'h', 'yanchor': 'bottom', 'y': 1 + LEGEND_PX / (rows * ROW_PX)}
    figure.update_layout(legend=legend)
    return figure


def bands(make_subplots: Any, found: dict[str, Any]) -> Any:
    """AbsRel by range of the truth, as predicted and after median scaling."""
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


def frames(go: Any, found: dict[str, Any]) -> Any:
    """AbsRel of each frame."""
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


def scales(make_subplots: Any, found: dict[str, Any]) -> tuple[Any, str]:
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


def factor(result: Result, name: str) -> float:
    """With which the depth of a frame is drawn: 1 for metres."""
    if result.order_by == 'metres':
        return 1.0
    return next(row.score.ratio for row in result.rows if row.name == name)


def clouds(go: Any, results: Sequence[Result]) -> Any:
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
            z = np.asarray(one.z * factor(result, name), np.float32)
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
