# SPDX-License-Identifier: Apache-2.0
"""What tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get('DEPTH_ROS_DATA', ROOT.parent / 'shared' / 'data'))
# child processes import this tree, also where depth_ros is installed from another
os.environ['PYTHONPATH'] = os.pathsep.join((str(ROOT), os.environ.get('PYTHONPATH', '')))
# Tests compare depth with that of torch in fp32; those of engines say otherwise. Measuring would
# also take seconds for each network.
os.environ['DEPTH_ROS_ENGINE'] = 'torch'
# as on Humble, where a message always checks the types of its fields; before messages are imported
os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'
# Threads beyond the cores wait by spinning: where pytest-xdist runs several processes, they share
# them. Before torch is imported, which reads this once; processes of ROS nodes inherit it.
if 'PYTEST_XDIST_WORKER_COUNT' in os.environ:
    cores, workers = len(os.sched_getaffinity(0)), int(os.environ['PYTEST_XDIST_WORKER_COUNT'])
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, cores // workers)))


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where torch sees none."""
    of_gpu = [item for item in items if item.get_closest_marker('gpu')]
    if not of_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in of_gpu:
            item.add_marker(pytest.mark.skip(reason='torch sees no GPU'))


@pytest.fixture(scope='session')
def data() -> Path:
    """The folder of real pictures, bags and weights, next to this repository."""
    if not (DATA / 'images').is_dir():
        pytest.skip(f'no real pictures in {DATA}; set DEPTH_ROS_DATA to their folder')
    return DATA


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of the large parity fixtures, which the data folder lies in."""
    folder = DATA.parent
    if not (folder / 'parity').is_dir():
        pytest.skip(
            f'no large parity fixtures in {folder}, only the small ones of test/data; '
            'set DEPTH_ROS_DATA to the data folder next to them'
        )
    return folder
