# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs; what it finds is not judged here."""

import pytest

from depth_ros.bench.__main__ import summary
from depth_ros.bench.transport import Case, measure, memcpy_ms


@pytest.mark.parametrize('node', ['depth_ros', 'plain'])
def test_a_case_is_measured(graph, node):
    numbers = measure(Case(node, 320, 240, 20.0), seconds=1.5)
    assert 'failed' not in numbers, numbers
    assert numbers['clouds_hz'] > 0 and numbers['p50'] > 0


def test_a_failed_run_does_not_spoil_the_median():
    case = Case('depth_ros', 64, 48, 30.0)
    row = summary(case, [{'p50': 5.0}, {'failed': 'no cloud'}, {'p50': 7.0}])
    assert row['failed'] == 1 and row['p50'] == 6.0 and row['clouds_hz'] is None


def test_a_copy_takes_time_by_size():
    times = memcpy_ms(640, 480, repeats=9)
    assert times['image'] > 0 and times['depth'] < times['cloud']
