# SPDX-License-Identifier: Apache-2.0
"""What families share: outputs of the published networks with weights from a formula."""

import importlib.util
import json
import shutil
from types import ModuleType

import cv2
import pytest
import torch


def _module(path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tmp_path(tmp_path):
    """As pytest's, but gone after the test: a checkpoint takes 60 MB and more."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(scope='session')
def fixture_of(shared):
    reader = _module(shared / 'parity' / 'read_fixture.py')
    return lambda name: reader.Fixture(shared / 'parity' / f'{name}.npz')


@pytest.fixture(scope='session')
def formula(shared):
    """Stand-in weights of a published layout, as stored there: name -> tensor."""
    module = _module(shared / 'parity' / 'weights_by_formula.py')

    def state(layout):
        entries = json.loads((shared / 'keys' / f'{layout}.json').read_text())
        tensors = {k: v for k, v in entries.items() if v[0] != 'python'}
        return {k: torch.from_numpy(module.values(k, *v)) for k, v in tensors.items()}

    return state


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
