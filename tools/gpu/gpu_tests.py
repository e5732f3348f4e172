# SPDX-License-Identifier: Apache-2.0
"""The tests that need a GPU (marker `gpu`), and those that come with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.gpu.worker import Clock, Emit

TESTS = Path(__file__).resolve().parents[2] / 'test'
MARK = 'pytest.mark.gpu'
#: the way of a frame on a GPU, on a CPU
WITH_ROS = ('test_ahead.py',)


def files(ros: bool) -> list[Path]:
    """The files that have such tests; those of the node only if rclpy is installed."""
    found = [path for path in sorted(TESTS.rglob('test_*.py')) if MARK in path.read_text()]
    return [path for path in found if ros or 'ros' not in path.relative_to(TESTS).parts]


class _Reporter:
    """A plugin of pytest that emits each result."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.done = 0

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [
            item for item in items if item.get_closest_marker('gpu') or item.path.name in WITH_ROS
        ]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == 'call' or report.outcome != 'passed':
            self._add(report.nodeid, report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._add(report.nodeid, report)

    def _add(self, test: str, report: Any) -> None:
        self.done += 1
        row = {'test': test, 'outcome': report.outcome}
        if report.outcome == 'skipped' and isinstance(report.longrepr, tuple):
            row['why'] = report.longrepr[2]
        elif report.outcome == 'failed':
            row['why'] = report.longreprtext.strip()[-1500:] or 'no reason is known'
        self._emit('tests', row)


def run(job: dict[str, Any], emit: Emit, clock: Clock) -> None:
    """Emit a row for each test.

    Raises:
        RuntimeError: no test was found.
    """
    found = files(job['ros'])
    if job['ros'] and not job['tiny']:
        found += [TESTS / 'ros' / name for name in WITH_ROS]
    reporter = _Reporter(emit)
    words = ['-p', 'no:cacheprovider', '-q', '--tb=short', *map(str, found)]
    pytest.main(words, [reporter])
    if not reporter.done:
        raise RuntimeError('pytest found no test with the marker gpu; see the log')
