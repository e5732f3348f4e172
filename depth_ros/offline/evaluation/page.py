# SPDX-License-Identifier: Apache-2.0
"""Parts of a page that is one file and loads nothing from the internet."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np

from depth_ros.offline.evaluation.drawing import BACKGROUND, INK, Image8, resize_to_width

PAPER, TEXT, GRID = *(f'rgb{colour}' for colour in (BACKGROUND, INK)), '#3a3f4a'
STYLE = f"""
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem;
  background: {PAPER}; color: {TEXT}; }}
code, li {{ overflow-wrap: anywhere; }} h3 {{ font-size: 1rem; margin: 1.5rem 0 .5rem; }}
h1 {{ font-size: 1.5rem; margin: .5rem 0; }} h2 {{ font-size: 1.15rem; margin: 2rem 0 .5rem; }}
p {{ max-width: 46rem; }}
.panels {{ display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }}
.four {{ grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr)); }}
figure {{ margin: 0; }} img {{ width: 100%; height: auto; display: block; }}
figcaption {{ font-size: .9rem; padding-bottom: .25rem; }}
.three {{ grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }}
.verdict {{ border-left: .35rem solid #7fd962; padding: .1rem 0 .1rem 1rem; }}
.verdict b {{ font-size: 1.15rem; }} .verdict h3 {{ margin: .75rem 0 0; }}
.verdict ul {{ margin: .25rem 0; max-width: 46rem; padding-left: 1.2rem; }}
.warning {{ border-color: #ffb454; }} .refused {{ border-color: #f07178; }}
pre {{ padding: .75rem; background: #0006; }} pre code {{ white-space: pre-wrap; }}
.words td, .words th {{ text-align: left; vertical-align: top; padding-left: 0; }}
.wide {{ overflow-x: auto; }} table {{ border-collapse: collapse; margin: 1rem 0; }}
td, th {{ padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8884; }}
th {{ font-weight: 500; opacity: .7; }}
td:first-child, th:first-child {{ text-align: left; padding-left: 0; }}
@media (max-width: 30rem) {{
  table {{ font-size: .75rem; }} td, th {{ padding: .25rem .2rem .25rem .3rem; }} }}
"""


def start(title: str) -> str:
    """The page up to its title, which is a heading too."""
    title = html.escape(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>'
    )


def panel(
    caption: str, image: Image8, legend: Image8 | None = None, *, photo: bool = False
) -> str:
    """An image with its caption above and its legend below.

    Args:
        caption: text.
        image: (H, W, 3) uint8.
        legend: as wide as `drawing.WIDTH`.
        photo: as JPEG, a fifth of the size.
    """
    picture = resize_to_width(image)
    if legend is not None:
        picture = np.concatenate((picture, legend))
    kind = 'jpeg' if photo else 'png'
    _, encoded = cv2.imencode(f'.{kind}', np.ascontiguousarray(picture[..., ::-1]))
    data = base64.b64encode(encoded.tobytes()).decode()
    return (
        f'<figure><figcaption>{html.escape(caption)}</figcaption>'
        f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(caption)}"></figure>'
    )


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table of text."""
    lines = [''.join(f'<th>{html.escape(c)}</th>' for c in head)]
    lines += [''.join(f'<td>{html.escape(str(c))}</td>' for c in row) for row in rows]
    return '<table>' + ''.join(f'<tr>{line}</tr>' for line in lines) + '</table>'


def plot(figure: Any, name: str, height: str, *, first: bool, top_px: int = 10) -> str:
    """A figure of plotly.

    Args:
        figure: whose colours become those of the page.
        name: of its element.
        height: in CSS.
        first: of the page: plotly itself is included.
        top_px: space above, for a legend.
    """
    from plotly.io import to_html

    figure.update_layout(
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={'color': TEXT},
        margin={'l': 0, 'r': 0, 't': top_px, 'b': 0},
    )
    return str(
        to_html(
            figure,
            full_html=False,
            include_plotlyjs=first,
            div_id=name,
            default_height=height,
            config={'responsive': True, 'displaylogo': False, 'displayModeBar': False},
        )
    )
