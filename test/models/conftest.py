# SPDX-License-Identifier: Apache-2.0
"""What families share: outputs of the published networks with weights from a formula."""

import shutil
from functools import partial

import cv2
import pytest
import stand_ins
import torch


@pytest.fixture
def tmp_path(tmp_path):
    """As pytest's, but gone after the test: a checkpoint takes 60 MB and more."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(scope='session')
def fixture_of(shared):
    reader = stand_ins.module_at(shared / 'parity' / 'read_fixture.py')
    return lambda name: reader.Fixture(shared / 'parity' / f'{name}.npz')


@pytest.fixture(scope='session')
def formula(shared):
    """Stand-in weights of a published layout, as stored there: name -> tensor."""
    return partial(stand_ins.formula, shared)


@pytest.fixture(scope='session')
def small_file(formula, tmp_path_factory):
    """A .pth file with the layout all small versions 1 and 2 share."""
    path = tmp_path_factory.mktemp('small') / 'any name.pth'
    torch.save(formula('da2-vits'), path)
    yield path
    path.unlink()


@pytest.fixture(scope='session')
def picture(shared):
    """(480, 640, 3) uint8 RGB."""
    bgr = cv2.imread(str(shared / 'parity' / 'images' / 'tum_fr2_desk.png'))
    return torch.from_numpy(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
