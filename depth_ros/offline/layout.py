# SPDX-License-Identifier: Apache-2.0
"""The layout of Rerun's viewer: the cloud, image and depth beside it, figures below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: group of figures -> title of its plot
TITLES = {
    'depth': 'Median depth [m]',
    'time': 'Time [ms]',
    'scale': 'Scale, 1 sigma',
    'spread': 'Spread of scale [%]',
    'rate': 'Rate [Hz]',
}
#: figures that do not look as Rerun would draw them
LINES: dict[str, dict[str, Any]] = {
    'scale/value': {'colors': [90, 200, 120], 'names': 'scale', 'widths': 2.0},
    'scale/lower': {'colors': [110, 110, 110], 'names': '-1 sigma', 'widths': 1.0},
    'scale/upper': {'colors': [110, 110, 110], 'names': '+1 sigma', 'widths': 1.0},
}


def of(
    content: Mapping[str, Sequence[str]],
    distance_m: Mapping[str, float],
    timeline: str,
    *,
    follow: bool,
) -> Any:
    """Rerun's Blueprint.

    Args:
        content: path of each camera or input -> its groups of figures.
        distance_m: path -> typical depth of its first image [m].
        timeline: that is shown at first.
        follow: the newest is shown, as it comes.
    """
    import rerun.blueprint as rrb

    each = [
        _camera(rrb, root, groups, distance_m.get(root, 1.0)) for root, groups in content.items()
    ]
    return rrb.Blueprint(
        each[0] if len(each) == 1 else rrb.Tabs(*each),
        rrb.TimePanel(
            state='collapsed', timeline=timeline, play_state='following' if follow else 'playing'
        ),
        rrb.BlueprintPanel(state='collapsed'),
        rrb.SelectionPanel(state='collapsed'),
    )


def _camera(rrb: Any, root: str, groups: Sequence[str], distance_m: float) -> Any:
    camera = f'{root}/camera'
    eye = rrb.EyeControls3D(  # behind the camera, beside and above it; y is down
        position=[-0.3 * distance_m, -0.35 * distance_m, -0.4 * distance_m],
        look_target=[0.0, 0.0, distance_m],
        eye_up=[0.0, -1.0, 0.0],
    )
    views = rrb.Horizontal(
        rrb.Spatial3DView(
            name='Cloud',
            origin=root,
            # Rerun makes a cloud of the depth image, too, without colours and filters
            contents=[f'+ {root}/**', f'- {camera}/depth', f'- {camera}/anchors'],
            line_grid=rrb.LineGrid3D(visible=False),
            eye_controls=eye,
        ),
        rrb.Vertical(
            rrb.Spatial2DView(
                name='Image', origin=camera, contents=[f'+ {camera}/image', f'+ {camera}/anchors']
            ),
            rrb.Spatial2DView(name='Depth [m]', origin=camera, contents=[f'+ {camera}/depth']),
        ),
        column_shares=[2, 1],
    )
    plots = [
        rrb.TimeSeriesView(
            name=title,
            origin=f'{root}/{group}',
            # it covers the lines; only times are of several kinds
            plot_legend=rrb.PlotLegend(corner=rrb.Corner2D.LeftTop, visible=group == 'time'),
        )
        for group, title in TITLES.items()
        if group in groups
    ]
    about = rrb.Tabs(
        rrb.TextDocumentView(name='About', origin=f'{root}/about'),
        rrb.TextLogView(name='Log', origin=f'{root}/log'),
    )
    return rrb.Vertical(
        views,
        rrb.Horizontal(*plots, about),
        row_shares=[3, 1],
        name=root.strip('/'),
    )
