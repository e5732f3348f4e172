# SPDX-License-Identifier: Apache-2.0
"""Write report.html: one file with images, an interactive cloud, timelines and tables."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depth_ros.offline.evaluation import page
from tools.demo.drawing import FrameImages, Image8
from tools.train.loss import FAR, NEAR

SCORES = (('metres as they are', ''), ('after median scaling', '_median'))
TIMES = ('rate_hz', 'latency_p50_ms', 'latency_p99_ms')
MAX_POINTS = 40_000  #: of the cloud, for smooth interaction on a phone
LINES = {'camera': '#8a93a3', 'depth/image': '#4cc2ff', 'points': '#ffb454'}


def write(
    path: Path,
    summary: dict[str, Any],
    snapshot: dict[str, Any],
    images: FrameImages,
    about: str,
) -> Path | None:
    """Write the page.

    Args:
        path: of the file.
        summary: content of summary.json.
        snapshot: arrays of snapshot.npz.
        images: drawn from the snapshot.
        about: paragraph about the model and its accuracy.

    Returns:
        `path`; None if plotly is not installed.
    """
    try:
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots
    except ImportError:
        return None

    cloud = _cloud(go, snapshot['points'], snapshot['colours'], images.distance)
    timeline = _timeline(make_subplots(2, 1, shared_xaxes=True), snapshot)
    parts = [
        page.start(f'depth_ros demo: {summary["model"]}'),
        f'<p>{html.escape(about)}</p>',
        '<h2>One frame</h2><div class="panels">',
        *(page.panel(*item) for item in images.panels()),
        '</div><h2>Point cloud (drag to rotate)</h2>',
        page.plot(cloud, 'cloud', 'min(65vh, 95vw)', first=True)
        if cloud
        else '<p>It has no points.</p>',
        '<h2>Figures</h2><div class="wide">',
        *_tables(summary),
        '</div><h2>Rate, and latency from the image to this subscriber</h2>',
        page.plot(timeline, 'timeline', '26rem', first=cloud is None),
        '</body></html>',
    ]
    path.write_text('\n'.join(parts))
    return path


def _cloud(go: Any, points: NDArray[np.float32], colours: Image8, distance: float) -> Any:
    """Interactive cloud of the points with Z < 4 `distance`; None if there are none."""
    near = np.flatnonzero(points[:, 2] < 4 * distance)
    if not len(near):
        return None
    if len(near) > MAX_POINTS:  # random, as every n-th point would give stripes
        near = np.random.default_rng(0).choice(near, MAX_POINTS, replace=False)
    x, y, z = points[near].round(3).T
    marker = {'size': 2, 'color': [f'rgb({r},{g},{b})' for r, g, b in colours[near]]}
    # optical frame -> plot: right, forward, up
    figure = go.Figure(
        go.Scatter3d(x=x, y=z, z=-y, mode='markers', marker=marker, hoverinfo='skip')
    )
    names = {'xaxis': 'right [m]', 'yaxis': 'forward [m]', 'zaxis': 'up [m]'}
    style = {'backgroundcolor': page.PAPER, 'gridcolor': page.GRID, 'zerolinecolor': page.GRID}
    figure.update_layout(
        scene={
            'aspectmode': 'data',
            'camera': {'eye': {'x': 0.8, 'y': -1.4, 'z': 0.3}, 'center': {'z': -0.2}},
            **{axis: {'title': {'text': text}, **style} for axis, text in names.items()},
        },
    )
    return figure


def _timeline(figure: Any, snapshot: dict[str, Any]) -> Any:
    sent = snapshot['sent']
    topics = {n: snapshot[f'timeline {n}'] for n in ('depth/image', 'points')}
    duration = float(sent[-1]) if len(sent) else 1.0
    edges = np.linspace(0, duration, max(1, round(duration)) + 1)  # [s], about one apart
    arrivals = {'camera': sent, **{n: t + latency / 1e3 for n, (t, latency) in topics.items()}}
    for name, times in arrivals.items():
        rate = np.histogram(times, edges)[0] / np.diff(edges)
        style = {'name': name, 'legendgroup': name, 'line': {'color': LINES[name]}}
        style['line']['dash'] = 'dot' if name == 'points' else 'solid'  # lines often coincide
        figure.add_scatter(
            x=(edges[:-1] + edges[1:]) / 2, y=rate, mode='lines+markers', row=1, col=1, **style
        )
        if name in topics:
            t, latency = topics[name]
            style |= {'mode': 'lines', 'showlegend': False}
            figure.add_scatter(x=t.round(3), y=latency.round(2), row=2, col=1, **style)
    grid = {'gridcolor': page.GRID, 'zerolinecolor': page.GRID}
    figure.update_xaxes(**grid)
    figure.update_yaxes(rangemode='tozero', automargin=True, **grid)
    figure.update_xaxes(title={'text': 'time [s]'}, row=2, col=1)
    figure.update_yaxes(title={'text': 'rate [Hz]'}, row=1, col=1)
    figure.update_yaxes(title={'text': 'latency [ms]'}, row=2, col=1)
    figure.update_layout(legend={'orientation': 'h', 'y': 1.12})
    return figure


def _tables(summary: dict[str, Any]) -> Iterable[str]:
    camera = summary['camera']
    yield page.table(
        (f'depth, mean of {summary["compared_frames"]} frames', 'AbsRel', 'delta1'),
        [
            (name, *(_short(summary['error'].get(n + end)) for n in ('abs_rel', 'delta1')))
            for name, end in SCORES
        ],
    )
    yield page.table(
        ('topic', 'received', 'lost', 'Hz', 'p50 ms', 'p99 ms'),
        [
            (name, row['received'], row['lost'], *(_short(row[n], 1) for n in TIMES))
            for name, row in summary['outputs'].items()
        ],
    )
    rate, skipped = _short(camera['rate_hz'], 1), camera['skipped_by_node']
    yield (
        '<p>Grey pixels are sky, black ones have no depth. AbsRel: mean of |Z - exact| / exact; '
        'delta1: fraction of pixels with an error below 25 %; both where the exact depth is '
        f'{NEAR:g} to {FAR:g} m, with predicted sky counted as {FAR:g} m. After median scaling: '
        'depth of each image is multiplied so that its median is correct, which leaves the error '
        f'of the shape. The cloud shows at most {MAX_POINTS} random points, closer than four '
        f'times the median.</p><p>Camera {camera["size"]}: {camera["frames"]} images at {rate} '
        f'Hz. Lost: images without this output; for {skipped} of them the node took a newer one. '
        'p50 and p99 ms: 50 and 99 % arrived within this time after their image.</p>'
        f'<p>{html.escape(summary["where"])}</p>'
    )


def _short(value: float | None, digits: int = 3) -> str:
    return '' if value is None else f'{value:.{digits}f}'
