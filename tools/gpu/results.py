# SPDX-License-Identifier: Apache-2.0
"""The results: a file as of `tools.bench`, written after each row, and its tables as text."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

from depth_ros.models import PRESETS
from tools import machine
from tools.bench import tables
from tools.bench.command import as_json
from tools.gpu import device_path
from tools.gpu.plan import IMPORTANT

Row = dict[str, Any]
#: part -> what tells its rows apart: a new row replaces the one that has the same
KEYS: dict[str, tuple[str, ...]] = {
    'networks': ('preset', 'input', 'precision', 'who'),
    'stages': ('stage', 'size'),
    'tests': ('test',),
    'node': ('model', 'topic', 'size'),
    'kernels': ('preset', 'precision'),
    'training': ('weights',),
    'left_out': ('step', 'what'),
    'steps': ('step',),
}
#: parts that `tools.bench` has too; the others are below 'gpu'
OF_BENCH = ('networks', 'stages')
METHOD = {
    'networks': 'medians; random weights; on a GPU as CUDA graphs, convolutions in fp32 by TF32',
    'stages': 'medians',
}
_PRECISIONS = ('fp16', 'bf16', 'fp32')


class Results:
    """The results of a machine and day; those of an earlier run are kept.

    Args:
        folder: of the file.
        about: row of the step `about`.
    """

    def __init__(self, folder: Path, about: Row) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f'{date.today().isoformat()}-{about["machine"]["name"]}.json'
        found = json.loads(self.path.read_text()) if self.path.is_file() else {}
        self.content: Row = {**found, 'date': date.today().isoformat(), **about}
        gpu = self.content.setdefault('gpu', {})
        gpu |= {'conditions': machine.moment(), 'steps': [], 'left_out': []}
        self.write()

    @property
    def text_path(self) -> Path:
        """The tables, beside the file."""
        return self.path.with_suffix('.txt')

    def forget_tests(self) -> None:
        """Those of an earlier run: the code may have changed since."""
        self.content['gpu'].pop('tests', None)

    def add(self, step: str, part: str, row: Row) -> None:
        """Put a row into a part, in place of one that has the same `KEYS`; and write the file."""
        if part in ('left_out', 'steps'):
            row = {'step': step, **row}
        rows = self._rows(part)
        same = [k for k, other in enumerate(rows) if _key(part, other) == _key(part, row)]
        if same:
            rows[same[0]] = row
        else:
            rows.append(row)
        if part == 'networks':
            rows.sort(key=_order)
        self.write()

    def _rows(self, part: str) -> list[Row]:
        if part not in OF_BENCH:
            rows: list[Row] = self.content['gpu'].setdefault(part, [])
            return rows
        new = {'method': METHOD[part], 'rows': [], 'left_out': []}
        found = self.content.setdefault(part, new)
        found |= {'method': METHOD[part], 'conditions': self.content['gpu']['conditions']}
        rows = found['rows']
        return rows

    def write(self) -> None:
        """Write the file and its tables, each of them whole at any moment."""
        _replace(self.path, as_json(self.content))
        _replace(self.text_path, self.text())

    def text(self) -> str:
        """Conditions and all tables; or why there are none, as no table may end a run."""
        try:
            return self._tables()
        except Exception as error:
            return f'the tables of {self.path} cannot be made: {error!r}'

    def _tables(self) -> str:
        about = self.content['about']
        facts = ', '.join(f'{name} {value}' for name, value in about.items() if value)
        head = f'{tables.conditions(self.content)}\n{facts}\n'
        return '\n'.join([head, *(table.text() for table in tables.tables(self.content))])

    def summary(self) -> str:
        """What matters most, in few lines."""
        gpu, rows = self.content['gpu'], self.content.get('networks', {}).get('rows', [])
        lines = []
        outcomes = [row['outcome'] for row in gpu.get('tests', [])]
        if outcomes:
            counts = (f'{outcomes.count(name)} {name}' for name in dict.fromkeys(outcomes))
            lines.append(f'tests: {", ".join(counts)}')
        for row in gpu.get('node', []):
            if 'identical' in row:
                same = 'the same bytes' if row['identical'] else 'OTHER BYTES'
                lines.append(f'{row["model"]}, {row["topic"]}: {same} as on the CPU')
        important = dict(IMPORTANT)
        for row in rows:
            if row['who'] == 'ours' and important.keys() & {row['preset'], *row['same_as']}:
                size = 'x'.join(map(str, row['input'][0][-2:]))
                lines.append(
                    f'{row["preset"]}, {size}, {row["precision"]}: {row["median_ms"]:.3g} ms, '
                    f'{row["share_of_matrix_percent"]} % of a matrix product'
                )
        for row in self.content.get('stages', {}).get('rows', []):
            if row['stage'].startswith(device_path.TITLES):
                lines.append(f'{row["stage"]}, {row["size"]}: {row["median_ms"]:.3g} ms')
        for row in gpu['steps']:
            if row['state'] not in ('done', 'running'):
                lines.append(f'{row["step"]}: {row["state"]}, {row["why"]}')
        return '\n'.join(lines)


def _key(part: str, row: Row) -> str:
    return json.dumps([row.get(name) for name in KEYS[part]])


def _order(row: Row) -> tuple[int, str, int, bool]:
    """Networks as in the table of presets; by input and precision, of each ours first."""
    preset, precision = [*PRESETS].index(row['preset']), _PRECISIONS.index(row['precision'])
    return preset, json.dumps(row.get('input')), precision, row['who'] != 'ours'


def _replace(path: Path, text: str) -> None:
    part = path.with_suffix(f'{path.suffix}.part')
    part.write_text(text)
    os.replace(part, path)
