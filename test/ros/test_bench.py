# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs; what it finds is not judged here."""

import pytest

from depth_ros.pipeline.trial_frame import trial_frame
from tools.bench import growth, memory, messages, segments, stages, tables
from tools.bench.options import Options
from tools.bench.transport import Case, measure, memcpy_ms, summary

SMALL = (320, 240)


@pytest.mark.parametrize('node', ['depth_ros', pytest.param('plain', marks=pytest.mark.slow)])
def test_a_case_is_measured(graph, node):
    numbers = measure(Case(node, *SMALL, 20.0), seconds=1.5)
    assert 'failed' not in numbers, numbers
    assert numbers['clouds_hz'] > 0 and numbers['p50'] > 0 and numbers['memory_mb'] > 0


@pytest.mark.parametrize(
    ('node', 'lens'),
    [
        ('depth_ros', 'equidistant'),
        pytest.param('plain', 'plumb_bob', marks=pytest.mark.slow),
        pytest.param('plain', 'equidistant', marks=pytest.mark.slow),
    ],
)
def test_a_raw_camera_is_a_case_with_a_row_of_its_own(graph, node, lens):
    case = Case(node, *SMALL, 20.0, lens)
    numbers = measure(case, seconds=1.0)
    assert 'failed' not in numbers, numbers
    part = {
        'method': 'm',
        'conditions': {'load': 0.0},
        'rows': [summary(case, [numbers])],
        'memcpy_ms': {},
    }
    ((cells,),) = [table.rows for table in tables.transport(part)]
    assert cells[0] == (f'320x240, 20 Hz, raw, {lens}' if node == 'depth_ros' else '')


def test_a_failed_run_does_not_spoil_the_median():
    case = Case('depth_ros', 64, 48, 30.0)
    row = summary(case, [{'p50': 5.0}, {'failed': 'no cloud'}, {'p50': 7.0}])
    assert row['failed'] == 1 and row['p50'] == 6.0 and row['clouds_hz'] is None


def test_a_copy_takes_time_by_size():
    times = memcpy_ms(640, 480, repeats=9)
    assert times['image'] > 0 and times['depth'] < times['cloud']


def test_messages_are_filled_serialised_and_published(graph, monkeypatch):
    monkeypatch.setattr(messages, 'BUDGET_S', 0.01)
    monkeypatch.setattr(messages, 'PUBLISH_S', 0.1)
    depth = stages.depth_with_holes(trial_frame(stages.torch.device('cpu'), *SMALL))
    rows = messages.rows(depth, *SMALL)
    assert [row['stage'] for row in rows] == [
        f'{step} {what}'
        for what in ('depth image', 'cloud')
        for step in ('fill', 'serialise', 'publish')
    ]
    assert all(row['median_ms'] > 0 and row['memcpy_ms'] > 0 for row in rows)
    part = {'method': 'm', 'conditions': {'load': 0.0}, 'rows': rows}
    (table,) = tables.stages(part)
    assert len(table.rows) == 6


@pytest.mark.slow
@pytest.mark.parametrize(('start', 'nodes'), [(growth.one_node, 1), (growth.separate_nodes, 2)])
def test_two_cameras_are_served_at_once(graph, start, nodes):
    row = growth.cameras(2, 1.0, start=start, size=SMALL)
    assert row['nodes'] == row['ready'] == nodes and row['model'] == 'flat_wall'
    assert row['failed'] == 0 and row['clouds_hz_together'] > row['clouds_hz'] > 0
    assert row['memory_mb_together'] > 0


@pytest.mark.slow
def test_memory_is_a_number_a_second(graph):
    found = memory.series(Options(minutes=0.05), *SMALL)
    assert 'failed' not in found, found
    assert len(found['resident_mb']) >= 2 and min(found['resident_mb']) > 50
    assert found['clouds_hz'] > 0 and found['device_mb'] == []


@pytest.mark.slow
def test_a_clean_end_leaves_no_segments_and_a_kill_is_reported(graph):
    rows = segments.run()
    found = {row['end']: row for row in rows}
    assert not any('failed' in row for row in rows), rows
    assert found['SIGTERM']['left'] == found['Ctrl-C']['left'] == 0
    assert found['SIGKILL']['exit_code'] == -9 and found['SIGKILL']['left'] > 0
    assert rows[-1]['left_from_before'] <= found['SIGKILL']['left']
    part = {'failed': 'not measured', 'ends': rows}
    assert len(list(tables.memory(part))[1].rows) == 4
