# SPDX-License-Identifier: Apache-2.0
"""Results as tables, for the terminal and as Markdown for docs/measured.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of formatted cells.

    Args:
        title: of the table.
        head: titles of the columns.
        rows: cells, as many as columns.
        note: text below the table, or ''.
    """

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    note: str = ''

    def text(self) -> str:
        """As text for a terminal."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        lines = [
            '  '.join(
                cell.ljust(width) for cell, width in zip(cells, widths, strict=True)
            ).rstrip()
            for cells in (self.head, *self.rows)
        ]
        return '\n'.join([f'{self.title}', '', *lines, *filter(None, ['', self.note])]) + '\n'

    def markdown(self) -> str:
        """As Markdown."""
        rule = tuple('---' for _ in self.head)
        lines = [f'| {" | ".join(cells)} |' for cells in (self.head, rule, *self.rows)]
        note = f'\n{self.note}\n' if self.note else ''
        return f'**{self.title}**\n\n' + '\n'.join(lines) + '\n' + note


def tables(result: Row) -> Iterator[Table]:
    """All tables of a result file, in the order of `options.PARTS`."""
    for part, make in _TABLES.items():
        if part in result:
            yield from make(result[part])


def conditions(result: Row) -> str:
    """Hardware, versions and date, as text."""
    about, packages = result['machine'], result['machine']['packages']
    half = ' and '.join(about.get('half_precision', ()))
    cpu = f'{about["cpu"]} with {half}' if half else about['cpu']
    where = about['gpu'] or f'{about["cores"]} cores of an {cpu}, without a GPU'
    names = {'rclpy': 'rclpy', 'ros-fastdds': 'Fast DDS', 'torch': 'torch',
             'transformers': 'transformers'}  # fmt: skip
    versions = [f'{text} {packages[name]}' for name, text in names.items() if name in packages]
    return f'{where}; {", ".join(versions)}; {result["date"]}'


def transport(part: Row) -> Iterator[Table]:
    """Our node compared with a plain node."""
    head = ('image, camera', 'node', 'clouds/s', 'lost', 'p50', 'p95', 'p99', 'CPU a frame')
    rows = []
    for row in part['rows']:
        first = row['node'] == 'depth_ros'
        cells = (_n(row['clouds_hz']), _n(row['lost_percent'], ' %'), *_latency(row))
        lens = row.get('lens') and f', raw, {row["lens"]}'
        case = f'{row["size"]}, {row["rate"]:g} Hz{lens or ""}' if first else ''
        rows.append((case, row['node'], *cells))
    copies = (
        f'{size}: ' + ', '.join(f'{n} {ms:g} ms' for n, ms in times.items())
        for size, times in part['memcpy_ms'].items()
    )
    note = f'{_method(part)} memcpy {"; ".join(copies)}.'
    yield Table('The node without a network', head, rows, note)


def stages(part: Row) -> Iterator[Table]:
    """Stages as rows, image sizes as columns."""
    sizes = list(dict.fromkeys(row['size'] for row in part['rows']))
    found = {(row['stage'], row['size']): row for row in part['rows']}
    head = ('stage', *(f'{s}: {n}' for s in sizes for n in ('median', 'p95', 'memcpy')))
    rows = []
    for stage in dict.fromkeys(row['stage'] for row in part['rows']):
        cells: list[str] = []
        for size in sizes:
            row = found.get((stage, size), {})
            keys = ('median_ms', 'p95_ms', 'memcpy_ms')
            cells += [_n(row.get(key), ' ms') for key in keys]
        rows.append((stage, *cells))
    yield Table('Stages of one frame', head, rows, _method(part) + _left_out(part))


def networks(part: Row) -> Iterator[Table]:
    """Networks, in our and other runtimes."""
    head = ('network', 'input', '', 'by', 'median', 'p95', 'GFLOP', 'TFLOP/s', 'of a matmul',
            'memory', 'ours / theirs: time', 'memory')  # fmt: skip
    rows = []
    mine: Row = {}
    for row in part['rows']:
        ours = row['who'] == 'ours'
        mine = row if ours else mine
        name = f'{row["preset"]}{" (+)" if row["same_as"] else ""}' if ours else ''
        if 'failed' in row:
            rows.append((name, '', row['precision'], 'ours', row['failed'], *[''] * 7))
            continue
        size = 'x'.join(str(n) for n in reversed(row['input'][0][-2:])) if ours else ''
        memory = row['memory_mb']
        both = memory and mine.get('memory_mb')
        rows.append((
            name, size, row['precision'], row['who'],
            _n(row['median_ms'], ' ms'), _n(row['p95_ms'], ' ms'), _n(row['gflop']),
            _n(row['tflops']), _n(row['share_of_matrix_percent'], ' %'), _n(memory, ' MB'),
            '' if ours else _n(row['ours_over_theirs_time']),
            '' if ours or not both else _n(mine['memory_mb'] / memory),
        ))  # fmt: skip
    note = f'{_method(part)} (+): other presets have the same layers and input.'
    yield Table('Networks', head, rows, note + _left_out(part))
    differences: list[tuple[str, ...]] = [
        (row['preset'], row['precision'], row['who'], _n(row['difference_percent'], ' %'))
        for row in part['rows']
        if 'difference_percent' in row
    ]
    if differences:
        note = (
            'Median relative difference of the output; - where numbers were lost. Random weights.'
        )
        yield Table('Difference from fp32', ('network', '', 'by', 'difference'), differences, note)


def engines(part: Row) -> Iterator[Table]:
    """Engines and precisions of each network."""
    head = ('network', 'threads', 'by', 'median', 'p95', 'of torch in fp32', 'difference',
            'memory', 'opened in')  # fmt: skip
    rows: list[tuple[str, ...]] = []
    before: Row = {}
    for row in part['rows']:
        name = f'{row["preset"]}{" (+)" if row["same_as"] else ""}'
        of = (row['preset'], row['threads']) == (before.get('preset'), before.get('threads'))
        first = ('', '') if of else (name, str(row['threads']))
        before = row
        if 'failed' in row:
            rows.append((*first, row.get('by', ''), row['failed'], *[''] * 5))
            continue
        by = f'**{row["by"]}**' if row.get('auto') else row['by']
        rows.append((
            *first, by, _n(row['median_ms'], ' ms'), _n(row['p95_ms'], ' ms'),
            _n(row['of_torch_fp32']), _n(row['difference_percent'], ' %'),
            _n(row.get('memory_mb'), ' MB'), _n(row.get('open_s'), ' s'),
        ))  # fmt: skip
    note = (
        f'{_method(part)} {", ".join(part["versions"])}. Bold: what `engine: auto` takes. '
        'Difference: median, from torch in fp32. (+): other presets have the same layers and '
        'input.'
    )
    yield Table('Engines', head, rows, note + _left_out(part))


def growth(part: Row) -> Iterator[Table]:
    """Tables of cameras, input sizes and strides."""
    head: tuple[str, ...]
    head = ('network', 'cameras', 'nodes', 'clouds/s', 'lost', 'p50', 'p95', 'p99', 'memory')
    rows: list[tuple[str, ...]] = [
        (
            row.get('model', 'flat_wall'),
            str(row['cameras']),
            str(row['nodes']),
            _n(row['clouds_hz_together']),
            _n(row['lost_percent'], ' %'),
            *_latency(row)[:3],
            _n(row['memory_mb_together'], ' MB'),
        )
        for row in part['cameras']
    ]
    yield Table('Several cameras', head, rows, _method(part))
    rows = [
        (row['input'], row['precision'], _n(row['gflop']), _n(row['median_ms'], ' ms'),
         _n(row['p95_ms'], ' ms'))
        for row in part['input']
    ]  # fmt: skip
    yield Table('Input of `nano`', ('input', '', 'GFLOP', 'median', 'p95'), rows)
    head = ('points.stride', 'cloud', 'clouds/s', 'lost', 'p50', 'p95', 'p99', 'CPU a frame')
    rows = [
        (str(row['stride']), _n(row['cloud_mb'], ' MB'), _n(row['clouds_hz']),
         _n(row['lost_percent'], ' %'), *_latency(row))
        for row in part['stride']
    ]  # fmt: skip
    yield Table(f'Stride of clouds of {part["stride"][0]["size"]}', head, rows)


def memory(part: Row) -> Iterator[Table]:
    """Tables of memory over time and of shared memory after the end."""
    if 'failed' in part:
        yield Table('Memory', ('failed',), [(str(part['failed']),)])
    else:
        line = part['resident_mb']
        slope = (
            f'{part["slope_mb_per_h"]:g} ± {part["slope_uncertainty_mb_per_h"]:g} MB/h after '
            f'the first {part["warm_up_percent"]} %'
        )
        first_last = (_n(line[0], ' MB'), _n(line[-1], ' MB')) if line else ('-', '-')
        head = ('', 'clouds/s', 'resident, first', 'last', 'slope')
        row = (part['method'], _n(part['clouds_hz']), *first_last, slope)
        yield Table('Memory', head, [row], f'Load before it {part["conditions"]["load"]:g}.')
    names = ('how the node ends', 'exit code', 'duration', 'its segments', 'left', 'left before')
    ends: list[tuple[str, ...]] = []
    for row in part['ends']:
        if 'failed' in row:
            ends.append((row['end'], row['failed'], *[''] * 4))
            continue
        own = f'{row["of_the_node"]}, {row["of_the_node_mb"]:g} MB'
        left = f'{row["left"]}, {row["left_mb"]:g} MB'
        before = ''
        if 'left_from_before' in row:
            before = f'{row["left_from_before"]}, {row["left_from_before_mb"]:g} MB'
        ends.append(
            (row['end'], str(row['exit_code']), _n(row['seconds'], ' s'), own, left, before)
        )
    note = 'Segments that remained after SIGKILL and the next start were deleted by the benchmark.'
    yield Table('Shared memory', names, ends, note)


def scale(part: Row) -> Iterator[Table]:
    """Tables of metres from anchors."""
    rows: list[tuple[str, ...]] = [
        (str(row['anchors']), row['max_order'], f'{row["absrel"]:.3f} ± {row["std"]:.3f}',
         _counts(row['orders']))
        for row in part['random']
    ]  # fmt: skip
    note = f'{_method(part)} Pictures: {", ".join(part["pictures"])}.{_left_out(part)}'
    head: tuple[str, ...] = ('anchors', 'highest order', 'AbsRel', 'orders taken')
    yield Table('`nano` in rooms, random anchors, 30 % of them wrong', head, rows, note)
    rows = [
        (row['values'], f'{row["absrel"]:.3f}', f'{row["worst"]:.3f}', _counts(row['orders']))
        for row in part['rings']
    ]
    head = ('values', 'AbsRel, mean', 'worst', 'orders taken')
    yield Table('A street, one ring in eight of a LiDAR as anchors', head, rows)
    rows = [
        (row['scene'], row['anchors'], f'{row["rate_hz"]:g} Hz', f'{row["std_percent"]:.2f} %',
         f'{row["jump_s"]:.2f} s')
        for row in part['steady']
    ]  # fmt: skip
    head = ('network and scene', '150 anchors at 10 Hz, 30 % wrong', 'images', 'std of depth',
            'jump visible')  # fmt: skip
    note = 'The scale of the network differs by 10 % from frame to frame, and once by 30 %.'
    yield Table('Steadiness', head, rows, note)
    rows = [
        (str(row['anchors']), row['order'], _n(row['fit_ms'], ' ms'), _n(row['apply_ms'], ' ms'))
        for row in part['times']
    ]
    yield Table('Time at 640x480', ('anchors', 'order', 'fit', 'correction'), rows)


def _counts(orders: Row) -> str:
    return ', '.join(f'{name} {count}' for name, count in orders.items())


def adapt(part: Row) -> Iterator[Table]:
    """What an adaptation gains on images that it did not learn from, and what it forgets."""
    head = ('compared on', 'mix', 'AbsRel before', 'after', 'delta1 before', 'after',
            'rendered scenes before', 'after')  # fmt: skip
    rows, last = [], ''
    for row in part['rows']:
        of = {when: row[when] for when in ('before', 'after')}
        cells = [f'{of[when][k]:.3f}' for k in (0, 1) for when in ('before', 'after')]
        cells += [f'{row[f"synthetic_{when}"][0]:.3f}' for when in ('before', 'after')]
        rows.append(
            ('' if row['compared'] == last else row['compared'], f'{row["mix"]:g}', *cells)
        )
        last = row['compared']
    seconds = statistics.median(row['seconds'] for row in part['rows']) if rows else 0
    note = f'{_method(part)} Learning took {seconds:.0f} s (median).{_left_out(part)}'
    yield Table('Adapted to some images of a kitchen', head, rows, note)


def filters(part: Row) -> Iterator[Table]:
    """Tables of the filters: their times, and what they do to depth."""
    (times,) = stages(part)
    yield replace(times, title='Filters')
    head: tuple[str, ...]
    head = ('blur', '`filters.edges`', 'in the air', 'of them removed', 'others kept',
            'within 1 cm kept')  # fmt: skip
    names = ('bad_percent', 'removed_percent', 'others_kept_percent', 'good_kept_percent')
    rows: list[tuple[str, ...]] = [
        (row['blur'], f'{row["step"]:g}', *(_n(row[n], ' %') for n in names))
        for row in part['edges']
    ]
    note = (
        'True depth of Middlebury\'s Motorcycle, blurred in inverse depth. "In the air": farther '
        'than 3 cm from every surface.'
    )
    if rows:
        yield Table('Flying pixels', head, rows, note)
    head = ('`filters.temporal`', 'TAE', 'of the unfiltered', 'AbsRel', 'of the unfiltered')
    rows = [
        (f'{row["temporal"]:g}', _n(row['tae_percent'], ' %'), _n(row['tae_ratio']),
         _n(row['abs_rel']), _n(row['abs_rel_ratio']))
        for row in part['temporal']
    ]  # fmt: skip
    note = (
        '`nano` on 40 frames of 7-Scenes (kitchen), a camera that moves. TAE: mean relative '
        'difference of the depth of a frame and that of the next, moved by the true motion.'
    )
    if rows:
        yield Table('Flicker', head, rows, note)
    head = ('cleared by', 'filters', 'cells of the person', 'free after', 'left after 2 s')
    rows = [
        (row['clearing'], 'edges, temporal' if row['filters'] else '', str(row['marked']),
         _frames(row['frames_until_free']), str(row['left']))
        for row in part['clearing']
    ]  # fmt: skip
    note = (
        'A person leaves a lane that ends in the sky (rendered; the scale varies by 3 % from '
        "frame to frame, edges are blurred by 1.5 px). The costmap follows the rules of Nav2's "
        'voxel layer, restated in numpy; it is not Nav2.'
    )
    if rows:
        yield Table('Clearing', head, rows, note)


def gpu(part: Row) -> Iterator[Table]:
    """Tables of what only `tools.gpu` measures, and of its steps."""
    yield from _of_tests(part.get('tests', []))
    numbers = {'median_difference_percent': ' %', 'largest_difference_percent': ' %',
               'clouds_hz': '', 'p50': ' ms', 'p95': ' ms'}  # fmt: skip
    yes_no = {True: 'yes', False: 'no'}
    rows: list[tuple[str, ...]] = [
        (row['model'], row['topic'], row['size'] or '', yes_no.get(row.get('identical'), ''),
         *(_n(row[name], unit) if name in row else '' for name, unit in numbers.items()))
        for row in part.get('node', [])
    ]  # fmt: skip
    head: tuple[str, ...]
    head = ('', '', 'images', 'same bytes', 'difference: median', 'largest', 'clouds/s', 'p50',
            'p95')  # fmt: skip
    if rows:
        yield Table('A GPU beside the CPU', head, rows)
    for row in part.get('kernels', []):
        rows = [
            (
                f'`{one["kernel"].replace("|", "/")}`',
                str(one['calls']),
                _n(one['ms'], ' ms'),
                _n(one['percent'], ' %'),
            )
            for one in row['top']
        ]
        note = f'All kernels together {row["all_ms"]:g} ms, without CUDA graph.'
        title = f'Kernels of {row["preset"]}, {row["precision"]}'
        yield Table(title, ('kernel', 'calls', 'time', 'of all'), rows, note)
    names = ('abs_rel', 'delta1', 'abs_rel_median', 'delta1_median')
    rows = [
        (row['weights'], *(_n(row[name]) for name in names), str(row.get('steps', '')),
         yes_no.get(row.get('kept'), ''))
        for row in part.get('training', [])
    ]  # fmt: skip
    head = ('weights', 'AbsRel', 'delta1', 'AbsRel, median-scaled', 'delta1', 'steps', 'kept')
    if rows:
        yield Table('Training of `nano`', head, rows)
    yield from _of_steps(part)


def _of_tests(tests: list[Row]) -> Iterator[Table]:
    outcomes = [row['outcome'] for row in tests]
    counts: list[tuple[str, ...]]
    counts = [(name, str(outcomes.count(name))) for name in dict.fromkeys(outcomes)]
    if counts:
        yield Table('Tests on the GPU', ('outcome', 'tests'), counts)
    failed: list[tuple[str, ...]] = [
        (row['test'], row['why'].splitlines()[-1]) for row in tests if row['outcome'] == 'failed'
    ]
    if failed:
        yield Table('Failed tests', ('test', 'why'), failed)


def _of_steps(part: Row) -> Iterator[Table]:
    rows: list[tuple[str, ...]] = [
        (row['step'], row['state'], _n(row['seconds'], ' s') if 'seconds' in row else '',
         row.get('why', ''))
        for row in part['steps']
    ]  # fmt: skip
    yield Table('Steps of `make gpu`', ('step', '', 'time', 'why'), rows)
    rows = [(row['step'], row['what'], row['why']) for row in part['left_out']]
    if rows:
        yield Table('Left out of these steps', ('step', 'what', 'why'), rows)


def _frames(count: int | None) -> str:
    return 'never' if count is None else f'{count} frame{"s" if count > 1 else ""}'


_TABLES: dict[str, Callable[[Row], Iterator[Table]]] = {
    'transport': transport,
    'stages': stages,
    'networks': networks,
    'engines': engines,
    'growth': growth,
    'memory': memory,
    'scale': scale,
    'filters': filters,
    'adapt': adapt,
    'gpu': gpu,
}


def _latency(row: Row) -> tuple[str, ...]:
    return tuple(_n(row[n], ' ms') for n in ('p50', 'p95', 'p99', 'cpu_ms_per_frame'))


def _method(part: Row) -> str:
    """Method and load of the machine, as a sentence."""
    method = part['method'][0].upper() + part['method'][1:]
    return f'{method}; load before it {part["conditions"]["load"]:g}.'


def _left_out(part: Row) -> str:
    reasons = part.get('left_out')
    return f' Left out: {"; ".join(reasons)}.' if reasons else ''


def _n(value: float | None, unit: str = '') -> str:
    """Format with three significant digits."""
    if value is None:
        return '-'
    return f'{float(f"{value:.3g}"):g}{unit}'
