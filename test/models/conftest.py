# SPDX-License-Identifier: Apache-2.0
"""What families share: outputs of the published networks with weights from a formula."""

import functools
import shutil

import pytest
import stand_ins
import torch
from parity import PARITY, Fixture
from parity import picture as read_picture


@pytest.fixture
def tmp_path(tmp_path):
    """As pytest's, but gone after the test: a checkpoint takes 60 MB and more."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(scope='session')
def fixture_of(request):
    """`fixture_of(name, case)`: published outputs that hold the case.

    The small cases are in test/data, the large ones in ../shared: without it they are skipped.
    """
    read = functools.cache(Fixture)

    def get(name, case='odd'):
        small = read(PARITY / f'{name}.npz')
        if case in small:
            return small
        return read(request.getfixturevalue('shared') / 'parity' / f'{name}.npz')

    return get


@pytest.fixture(scope='session')
def small_file(tmp_path_factory):
    """A .pth file with the layout all small versions 1 and 2 share."""
    path = tmp_path_factory.mktemp('small') / 'any name.pth'
    torch.save(stand_ins.formula('da2-vits'), path)
    yield path
    path.unlink()


@pytest.fixture(scope='session')
def picture():
    """(480, 640, 3) uint8 RGB."""
    return torch.from_numpy(read_picture())
