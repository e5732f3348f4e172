# SPDX-License-Identifier: Apache-2.0
"""What is written from the code: config/depth.yaml, the README's tables, and docs/networks.md.

The README's parameters come from the settings, what was measured from benchmarks/results.
`python -m tools.docs --write` brings the three files up to date.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from depth_ros.cli import table
from depth_ros.models import PRESETS
from depth_ros.parameters.layers import Parameter, parameters
from tools.bench import tables

BEGIN, END = '<!-- parameters:begin -->', '<!-- parameters:end -->'
MEASURED = '<!-- measured:begin -->', '<!-- measured:end -->'
LONG = 10  #: rows of a table that is folded
_HEAD = """\
# Every parameter of depth_node with its default.
# Written by `python -m tools.docs --write` from depth_ros/parameters/settings.py: edit there.
#
# For a file of your own, copy only the lines you change: a line in a params file also beats what
# the preset in config/models/ says. "live" parameters can be set while the node runs, the others
# take effect at the next configure.
/**:
  ros__parameters:
"""

_MODELS_HEAD = """\
# Presets

Written by `python -m tools.docs --write` from the table in depth_ros/models/presets.py.

`model:=<preset>` downloads the weights from their publisher at first use; `weights:=<file, folder,
zip or hub id>` takes yours. What the second column means, and which scaling fits, stands in the
README under *Metres*: metric presets know the cameras they were trained with, canonical ones ask
your intrinsics, the others have no metres of their own.

**The licence of the weights is the publisher's, not ours.** It is repeated as the publisher states
it (not legal advice), and the node logs it when it loads them. Weights with restrictions are
downloaded only once the parameter `accept_licence` is true.

`nano` is trained in this repository on its synthetic world, and its weights are in the package:
nothing is downloaded. How, and how good it is, stands in depth_ros/models/nano/card.md.

`flat_wall` and `flat_ground` are geometry for tests and benchmarks: a wall 2 m away, a level floor
1.2 m below the camera.

"""


def yaml_text() -> str:
    """The text of config/depth.yaml."""
    return _HEAD + ''.join(f'{line}\n' for line in _yaml_lines())


def markdown_table() -> str:
    """The README's table."""
    rows = ['| parameter | default | what it does |', '|---|---|---|']
    for p in parameters():
        text = f'{p.description} {_facts(p)}'.strip().replace('|', r'\|')
        rows.append(f'| `{p.name}` | `{_yaml_value(p.default)}` | {text} |')
    return '\n'.join(rows) + '\n'


def measured_tables(results: Path) -> str:
    """The newest results with a GPU and the newest without one, each with its conditions.

    Args:
        results: folder of what `make bench` wrote; the names start with the date.
    """
    newest: dict[bool, Path] = {}
    for path in sorted(results.glob('*.json')):
        newest[bool(json.loads(path.read_text())['machine']['gpu'])] = path
    texts = []
    for _, path in sorted(newest.items(), reverse=True):
        result = json.loads(path.read_text())
        texts.append(f'{tables.conditions(result)} ([numbers](benchmarks/results/{path.name})).\n')
        texts += [_folded(table) for table in tables.tables(result)]
        if picture := result.get('memory', {}).get('picture'):
            texts.append(f'![Memory over minutes](benchmarks/results/{picture})\n')
    return '\n'.join(texts)


def with_table(readme: str) -> str:
    """`readme` with what stands between its two markers replaced by the table.

    Raises:
        ValueError: a marker is missing.
    """
    return replaced(readme, (BEGIN, END), markdown_table())


def replaced(readme: str, markers: tuple[str, str], text: str) -> str:
    """`readme` with `text` between the two markers.

    Raises:
        ValueError: a marker is missing.
    """
    begin, end = markers
    if begin not in readme or end not in readme:
        raise ValueError(f'README.md needs the lines {begin} and {end}')
    before, rest = readme.split(begin, 1)
    after = rest.split(end, 1)[1]
    return f'{before}{begin}\n{text}{end}{after}'


def models_page() -> str:
    """The text of docs/networks.md."""
    rows = [
        '| preset | answers with | licence of the weights | weights | MB | paper |',
        '|---|---|---|---|---|---|',
    ]
    for name, preset in PRESETS.items():
        meaning = table.described_kind(name, preset)
        kind = meaning.value.replace('_', '-') if meaning else '`onnx.kind`'
        source = preset.source
        where = f'[{source.repo}](https://huggingface.co/{source.repo})' if source.repo else ''
        if source.url:
            where = f'[{preset.variant}.zip]({source.url})'
        if not source.needed:
            where = 'none needed'
        if source.packaged:
            where = 'in the package'
        size = str(source.megabytes or '')
        paper = f'[{preset.paper.rpartition("/")[2]}]({preset.paper})' if preset.paper else ''
        cells = (f'`{name}`', kind, source.licence, where or 'your file', size, paper)
        rows.append(f'| {" | ".join(cells)} |')
    return _MODELS_HEAD + '\n'.join(rows) + '\n'


def main() -> None:
    """Print the YAML, or write the three files."""
    parser = argparse.ArgumentParser(prog='python -m tools.docs')
    parser.add_argument('--write', action='store_true', help='update the files')
    if not parser.parse_args().write:
        print(yaml_text(), end='')
        return
    root = Path(__file__).resolve().parents[1]
    (root / 'config' / 'depth.yaml').write_text(yaml_text())
    (root / 'docs' / 'networks.md').write_text(models_page())
    readme = root / 'README.md'
    text = replaced(readme.read_text(), MEASURED, measured_tables(root / 'benchmarks' / 'results'))
    readme.write_text(with_table(text))


def _folded(table: tables.Table) -> str:
    """A long table is opened by who wants to see it."""
    if len(table.rows) <= LONG:
        return table.markdown()
    return f'<details><summary>{table.title}</summary>\n\n{table.markdown()}\n</details>\n'


def _yaml_lines() -> Iterator[str]:
    open_group = ''
    for p in parameters():
        group, _, leaf = p.name.rpartition('.')
        if group and group != open_group:
            yield f'    {group}:'
        open_group = group
        indent = ' ' * (6 if group else 4)
        for text in (p.description, _facts(p)):
            yield from textwrap.wrap(
                text, width=99, initial_indent=f'{indent}# ', subsequent_indent=f'{indent}# '
            )
        yield f'{indent}{leaf}: {_yaml_value(p.default)}'


def _facts(p: Parameter) -> str:
    facts = ['live'] if p.live else []
    if p.choices:
        facts.append(f'one of {", ".join(p.choices)}')
    elif p.high is not None:
        facts.append(f'{p.low:g} to {p.high:g}')
    elif p.low is not None:
        facts.append(f'at least {p.low:g}')
    return f'({"; ".join(facts)})' if facts else ''


def _yaml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    # Strings always in quotes: a bare true is a boolean, and the node would refuse it.
    return repr(value)


if __name__ == '__main__':
    main()
