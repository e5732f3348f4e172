# SPDX-License-Identifier: Apache-2.0
"""demo/report.html: one file with the pictures, a cloud to turn, the timeline and the table."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.demo import pictures

AXES = ('right [m]', 'forward [m]', 'up [m]')
MOST_POINTS = 25_000  #: a phone turns these smoothly
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.views { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); }
figure { margin: 0; } img { width: 100%; height: auto; display: block; border-radius: 4px; }
figcaption { font-size: .85rem; opacity: .75; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
td, th { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #8884; }
td:first-child, th:first-child { text-align: left; }
"""


def write(folder: Path, about: str) -> Path | None:
    """Write `folder`/report.html from summary.json and snapshot.npz there.

    Args:
        folder: where the recorder wrote.
        about: one paragraph on what the depth is worth.

    Returns:
        The file; None where plotly is not installed or no frame could be compared.
    """
    try:
        import plotly.graph_objects as go
        from plotly.io import to_html
    except ImportError:
        return None
    if not (folder / 'snapshot.npz').is_file():
        return None
    summary = json.loads((folder / 'summary.json').read_text())
    with np.load(folder / 'snapshot.npz') as stored:
        shot = dict(stored)

    def plot(figure: Any, name: str, first: bool, height: str) -> str:
        # the library stands in the page once; nothing is loaded from anywhere
        return to_html(
            figure,
            full_html=False,
            include_plotlyjs=first,
            div_id=name,
            default_height=height,
            config={'responsive': True, 'displaylogo': False},
        )

    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<title>depth_ros demo: {html.escape(summary["model"])}</title>',
        f'<style>{STYLE}</style></head><body>',
        f'<h1>depth_ros demo: {html.escape(summary["model"])}</h1><p>{html.escape(about)}</p>',
        '<h2>One frame</h2><div class="views">',
        *_views(shot),
        '</div><h2>Its cloud, to turn with a finger or the mouse</h2>',
        plot(_cloud(go, shot['points'], shot['colours']), 'cloud', True, '70vh'),
        '<h2>Latency of each frame, from the image to this subscriber</h2>',
        plot(_timeline(go, shot), 'timeline', False, '20rem'),
        '<h2>In numbers</h2><div class="wide">',
        *_tables(summary),
        '</div></body></html>',
    ]
    path = folder / 'report.html'
    path.write_text('\n'.join(parts))
    return path


def error_picture(depth: NDArray[np.float32], truth: NDArray[np.float32]) -> pictures.Picture:
    """Relative error of (H, W) depth: white for none, red too far, blue too near, grey sky."""
    with np.errstate(invalid='ignore', divide='ignore'):
        off = np.clip((depth / truth - 1) * 2, -1, 1)
    known = np.isfinite(off)
    off = np.where(known, off, 0)
    fade = (255 * (1 - np.abs(off))).astype(np.uint8)
    full = np.full_like(fade, 255)
    red, blue = np.where(off > 0, full, fade), np.where(off < 0, full, fade)
    picture = np.stack((red, fade, blue), -1)
    picture[~known] = pictures.SKY
    return picture


def _views(shot: dict[str, Any]) -> Iterable[str]:
    depth, truth = shot['depth'], shot['truth']
    colours = f'red {pictures.NEAR:g} m, blue {pictures.FAR:g} m, grey nothing in range'
    for caption, picture in (
        ('image', shot['rgb']),
        (f'depth/image: {colours}', pictures.colourise(depth)),
        ('exact depth, the same colours', pictures.colourise(truth)),
        ('error: white none, red 50 % too far, blue 50 % too near', error_picture(depth, truth)),
    ):
        _, png = cv2.imencode('.png', np.ascontiguousarray(picture[..., ::-1]))
        data = base64.b64encode(png.tobytes()).decode()
        yield (
            f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(caption)}">'
            f'<figcaption>{html.escape(caption)}</figcaption></figure>'
        )


def _cloud(go: Any, points: NDArray[np.float32], colours: pictures.Picture) -> Any:
    near = np.flatnonzero(points[:, 2] < pictures.FAR)
    step = -(-len(near) // MOST_POINTS)
    if step > 1:  # at random: every n-th would leave stripes
        near = np.random.default_rng(0).choice(near, MOST_POINTS, replace=False)
    x, y, z = points[near].round(3).T
    marks = {'size': 2, 'color': [f'rgb({r},{g},{b})' for r, g, b in colours[near]]}
    # optical frame -> plot: right, forward, up
    figure = go.Figure(
        go.Scatter3d(x=x, y=z, z=-y, mode='markers', marker=marks, hoverinfo='skip')
    )
    axes = {f'{a}axis': {'title': {'text': t}} for a, t in zip('xyz', AXES, strict=True)}
    figure.update_layout(
        scene={
            'aspectmode': 'data',
            'camera': {'eye': {'x': 0.2, 'y': -1.6, 'z': 0.7}},
            **axes,
        },
        margin={'l': 0, 'r': 0, 't': 0, 'b': 0},
    )
    return figure


def _timeline(go: Any, shot: dict[str, Any]) -> Any:
    figure = go.Figure()
    for name in ('depth/image', 'points'):
        t, latency = shot[f'timeline {name}']
        figure.add_scatter(x=t.round(3), y=latency.round(2), mode='lines', name=name)
    figure.update_layout(
        xaxis={'title': {'text': 'time [s]'}},
        yaxis={'title': {'text': 'latency [ms]'}, 'rangemode': 'tozero'},
        margin={'l': 50, 'r': 10, 't': 10, 'b': 40},
        legend={'orientation': 'h'},
    )
    return figure


def _tables(summary: dict[str, Any]) -> Iterable[str]:
    camera = summary['camera']
    yield f'<p>Camera {camera["size"]}: {camera["frames"]} images at {camera["rate_hz"]} Hz.</p>'
    yield _table(
        ('output', 'received', 'lost', 'Hz', 'p50 [ms]', 'p99 [ms]'),
        [
            (name, row['received'], row['lost'], row['rate_hz'], *_latency(row))
            for name, row in summary['outputs'].items()
        ],
    )
    yield '<p></p>'
    yield _table(
        ('against exact depth', 'AbsRel', 'delta1', 'RMSE [m]', 'valid'),
        [
            (
                name,
                *(_short(summary[key].get(n)) for n in ('abs_rel', 'delta1', 'rmse_m', 'valid')),
            )
            for name, key in (('whole image', 'error'), ('floor only', 'error_on_floor'))
        ],
    )


def _latency(row: dict[str, Any]) -> tuple[Any, Any]:
    return row['latency_p50_ms'], row['latency_p99_ms']


def _short(value: float | None) -> str:
    return '' if value is None else f'{value:.4f}'


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [''.join(f'<th>{html.escape(c)}</th>' for c in head)]
    lines += [''.join(f'<td>{html.escape(str(c))}</td>' for c in row) for row in rows]
    return '<table>' + ''.join(f'<tr>{line}</tr>' for line in lines) + '</table>'
