# SPDX-License-Identifier: Apache-2.0
"""Child processes of demo, benchmark and tests, and the DDS domain they have for themselves."""

import subprocess
import sys
import tempfile

from tools.demo import processes
from tools.demo.processes import environment, own_domain

ASK = 'from tools.demo.processes import own_domain; print(own_domain(), flush=True); input()'


def asking() -> subprocess.Popen[str]:
    command = [sys.executable, '-c', ASK]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_no_two_processes_have_the_same_domain(monkeypatch, tmp_path):
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr(tempfile, 'tempdir', None)  # it is read again
    others = [asking() for _ in range(3)]
    try:
        # as if all had the same process number
        taken = [int(other.stdout.readline()) for other in others]
        monkeypatch.setattr(processes.os, 'getpid', lambda: taken[0] - 1)
        mine = own_domain.__wrapped__()
        assert len({mine, *taken}) == 4
        assert all(1 <= domain <= 100 for domain in (mine, *taken))
    finally:
        for other in others:
            other.communicate('\n', timeout=20)
    # the locks ended with the processes
    assert own_domain.__wrapped__() == taken[0]


def test_a_domain_that_the_user_set_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', '7')
    assert environment(tmp_path)['ROS_DOMAIN_ID'] == '7'
    monkeypatch.delenv('ROS_DOMAIN_ID')
    assert environment(tmp_path)['ROS_DOMAIN_ID'] == str(own_domain())
