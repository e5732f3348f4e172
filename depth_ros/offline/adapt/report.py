# SPDX-License-Identifier: Apache-2.0
"""The page about adapted weights: verdict, checks, curves, and depth before and after."""

from __future__ import annotations

import html
import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depth_ros.checkpoints.adapted import GOOD, REFUSED, WARNING, Card
from depth_ros.offline.adapt.pictures import (
    ABOUT_WARPS,
    Shown,
    about_depth,
    depth_panels,
    warp_panels,
)
from depth_ros.offline.adapt.verdict import SAME, capital, judge
from depth_ros.offline.evaluation import page
from depth_ros.offline.evaluation.results import number

BEFORE, AFTER, MUTED = '#8a93a3', '#4cc2ff', '#ffb454'
DASHES = ('solid', 'dash', 'dot')  #: of the curves of several runs
MARKED = 40  #: points of a curve, up to which each is marked
MARKS = {GOOD: '✓ good', WARNING: '! warning', REFUSED: '✗ refused'}
EXPLAINED = (
    ('photometric error', 'difference of two images of the same thing, 0 to 1: structure (SSIM) '
     'and colour. A neighbouring image is moved to the view by depth and the recorded motion; '
     'right depth makes both equal. A wrong focal length or shifted poses can lower it too'),
    ('held out', 'views of the recording from which nothing was learnt'),
    ('AbsRel', 'mean of |Z - truth| / truth in metres; 0.1 is 10 %'),
    ('delta1', 'share of pixels with max(Z / truth, truth / Z) below 1.25'),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Curve:
    """Photometric error over a run; all of one length.

    Args:
        steps: of learning.
        training: error of the views that are learnt from; NaN where not known.
        held_out: error of the views that are held out; NaN where not known.
        name: of the run, where there are several.
        kept: step whose weights were kept; None for the last.
    """

    steps: Sequence[int]
    training: Sequence[float]
    held_out: Sequence[float]
    name: str = ''
    kept: int | None = None


def write(
    path: Path,
    card: Card,
    curves: Sequence[Curve],
    pictures: Sequence[Shown],
    *,
    weights: Path | None = None,
    command: str = '',
) -> bool:
    """Write the page.

    Args:
        path: of the file.
        card: of the weights.
        curves: a run each.
        pictures: some views.
        weights: file of the weights; None for that beside the page, of the same name.
        command: that was typed.

    Returns:
        Whether it has curves, for which plotly must be installed.
    """
    try:
        import plotly.graph_objects as go
    except ImportError:
        go = None
    names = ', '.join(one.name for one in card.recordings)
    weights = (weights or path.with_suffix('.safetensors')).absolute()
    parts = [page.start(f'{card.preset}, adapted to {names}'), _verdict(card)]
    parts += ['<h2>Use it</h2>', *_use(card, weights)]
    parts += [*_scores(card), *_checks(card)]
    if any(len(curve.steps) for curve in curves):
        parts.append('<h2>Photometric error while learning</h2>')
        if go is not None:
            drawn = page.plot(_curves(go, curves), 'curves', '24rem', first=True, top_px=65)
            parts += [OF_CURVES, drawn]
        else:
            parts.append(
                '<p><b>There are no curves</b>, as plotly is not installed: '
                '<code>pip install plotly</code>, then run the command again.</p>'
            )
    if pictures:
        parts += ['<h2>Depth before and after</h2>', about_depth(pictures)]
        parts += [panel for shown in pictures for panel in depth_panels(shown)]
    if any(shown.warps for shown in pictures):
        parts += ['<h2>Neighbouring images, moved by the depth</h2>', ABOUT_WARPS]
        parts += [panel for shown in pictures for panel in warp_panels(shown)]
    parts += _about(card, weights, command)
    parts += ['<h2>What the figures mean</h2>', _words(('', ''), EXPLAINED), '</body></html>']
    path.write_text('\n'.join(parts), encoding='utf-8')
    return go is not None


OF_CURVES = (
    '<p>What is learnt from takes the best of several neighbours at each pixel, so its error is '
    'lower than that of the views held out: compare each curve with its own start.</p>'
)


def _verdict(card: Card) -> str:
    found = judge(card)
    lists = ''
    for title, lines in (('Good for', found.good), ('Limits', found.limits)):
        if lines:
            items = ''.join(f'<li>{html.escape(line)}</li>' for line in lines)
            lists += f'<h3>{title}</h3><ul>{items}</ul>'
    return (
        f'<div class="verdict {found.level}"><b>{html.escape(found.title)}.</b> '
        f'{html.escape(capital(str(card)))}.{lists}</div>'
    )


def _use(card: Card, weights: Path) -> Iterator[str]:
    if judge(card).level == REFUSED:
        yield f'<p>Keep {html.escape(card.start.name)}. To look at the adapted weights all the '
        yield 'same:</p>'
    yield f'<pre><code>{html.escape(start_command(card, weights))}</code></pre>'
    yield (
        '<p>with the topic of your camera. The log and <code>/diagnostics</code> then name what '
        'the weights were adapted to.</p>'
    )


def start_command(card: Card, weights: Path) -> str:
    """The line that starts the node with adapted weights."""
    image = 'image:=/camera/image_raw'
    chosen = [f'model:={card.preset}', f'weights:={weights.absolute()}']
    if not card.parameters:
        return shlex.join(['ros2', 'launch', 'depth_ros', 'depth.launch.py', image, *chosen])
    # the launch file has no arguments for these
    chosen += [f'{name}:={value}' for name, value in card.parameters.items()]
    topics = ['-r', image, '-r', 'camera_info:=/camera/camera_info']
    values = [word for value in chosen for word in ('-p', value)]
    return shlex.join(['ros2', 'run', 'depth_ros', 'depth_node', '--ros-args', *topics, *values])


def _scores(card: Card) -> Iterator[str]:
    if not card.scores:
        return
    rows = []
    for scores in card.scores:
        before, after = scores.before, scores.after
        change = after.abs_rel - before.abs_rel
        word = 'about the same' if abs(change) <= SAME else 'better' if change < 0 else 'worse'
        rows.append(
            (
                scores.name,
                scores.images or '',
                *(number(n) for n in (before.abs_rel, after.abs_rel)),
                *(number(n) for n in (before.delta1, after.delta1)),
                '' if math.isnan(change) else word,
            )
        )
    head = ('', 'images', 'AbsRel before', 'after', 'delta1 before', 'after', '')
    yield '<h2>Measured depth, in metres</h2><div class="wide">'
    yield page.table(head, rows)
    yield '</div>'


def _checks(card: Card) -> Iterator[str]:
    if card.checks:
        rows = [(c.name, MARKS[c.verdict], c.found, c.remedy) for c in card.checks]
        columns = 4 if any(c.remedy for c in card.checks) else 3
        yield '<h2>Checks of the recording</h2>'
        yield _words(('', '', 'found', 'what to do')[:columns], [row[:columns] for row in rows])


def _curves(go: Any, curves: Sequence[Curve]) -> Any:
    figure = go.Figure()
    for k, curve in enumerate(curves):
        name = f'{curve.name}: ' if curve.name else ''
        for values, what, colour in (
            (curve.training, 'learnt from', BEFORE), (curve.held_out, 'held out', AFTER),
        ):  # fmt: skip
            known = [(s, round(v, 5)) for s, v in zip(curve.steps, values, strict=True) if v == v]
            if known:
                x, y = zip(*known, strict=True)
                mode = 'lines' if len(x) > MARKED else 'lines+markers'
                line = {'color': colour, 'dash': DASHES[k % len(DASHES)]}
                figure.add_scatter(x=x, y=y, name=name + what, mode=mode, line=line)
        if curve.kept is not None:
            figure.add_vline(
                x=curve.kept,
                line={'color': MUTED, 'dash': 'dot', 'width': 1},
                annotation={'text': f'{name}weights that were kept'},
            )
    grid = {'gridcolor': page.GRID, 'zerolinecolor': page.GRID, 'automargin': True}
    figure.update_xaxes(title={'text': 'step'}, **grid)
    figure.update_yaxes(title={'text': 'photometric error'}, **grid)
    figure.update_layout(
        showlegend=True, legend={'orientation': 'h', 'yanchor': 'bottom', 'y': 1.04}
    )
    return figure


def _about(card: Card, weights: Path, command: str) -> Iterator[str]:
    learnt = card.learnt
    corrections = [
        f'{value:.2g} {unit}'
        for value, unit in ((learnt.turn_rms_deg, 'degrees'), (100 * learnt.shift_rms_m, 'cm'))
        if not math.isnan(value)
    ]
    mix = f'{100 * learnt.mix:.0f} % adapted, the rest {card.start.name}'
    rows = [
        ('weights', str(weights)),
        ('from', card.start.name),
        ('its sha256', card.start.sha256),
        ('licence', card.licence + ('; it restricts use' if card.restricted else '')),
        ('date', f'{card.date}, depth_ros {card.depth_ros}'),
        ('steps', f'{learnt.steps}{", stopped early" if learnt.stopped_early else ""}'),
        ('time', f'{learnt.seconds:.0f} s' if not math.isnan(learnt.seconds) else ''),
        ('device', learnt.device),
        ('mix', mix if learnt.mix < 1 else ''),
        ('poses corrected by', ' and '.join(corrections) + ' (rms)' if corrections else ''),
    ]  # fmt: skip
    yield '<h2>How it was made</h2>'
    if command:
        yield f'<pre><code>{html.escape(command)}</code></pre>'
    yield _words(('', ''), [row for row in rows if row[1]])
    head = ('recording', 'images', 'time s', 'way m', 'poses', 'camera')
    yield _words(
        head,
        [
            (r.name, r.images, number(r.duration_s, 1), number(r.path_m, 2), r.poses, r.camera)
            for r in card.recordings
        ],
    )


def _words(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of sentences, aligned to the left."""
    return f'<div class="wide words">{page.table(head, rows)}</div>'
