# SPDX-License-Identifier: Apache-2.0
"""A network that is loaded does not depend on its file any more."""

import subprocess
import sys

import pytest
import stand_ins
import torch
from safetensors.torch import save_file

from depth_ros.checkpoints.read import read_checkpoint

#: Loads a preset, changes its file in place, and predicts again. A process of its own, as a mapped
#: file that is cut off ends the process.
SCRIPT = """
import os
import sys
from pathlib import Path

import torch

from depth_ros import models
from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame

name, path, change = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
model = models.load(name, models.ModelOptions(weights=path, input_size=70))
pixels = torch.arange(60 * 80 * 3).reshape(60, 80, 3).to(torch.uint8)
frame = Frame(pixels, Camera(80, 60, 70.0, 70.0, 39.5, 29.5))
size = path.stat().st_size
with path.open('r+b') as file:
    if change == 'overwritten':
        for _ in range(0, size, 1 << 20):
            file.write(bytes(1 << 20))
    os.truncate(path, 0 if change == 'cut off' else size)
first = model.predict(frame).values
path.unlink()
assert torch.isfinite(first).all() and first.std() > 0, first
"""


@pytest.mark.parametrize(
    ('suffix', 'change'), [('.pth', 'cut off'), ('.safetensors', 'overwritten')]
)
def test_new_weights_can_be_copied_over_the_file_in_use(tmp_path, suffix, change):
    path = tmp_path / f'x{suffix}'
    state = stand_ins.formula('da2-vits')
    torch.save(state, path) if suffix == '.pth' else save_file(state, path)
    process = subprocess.run(
        [sys.executable, '-c', SCRIPT, 'depth_anything_v2_small', path, change],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize('form', ['zip', 'legacy', 'safetensors'])
def test_memory_for_a_checkpoint_is_no_more_than_its_tensors(tmp_path, form):
    path = tmp_path / 'x'
    state = {f'{i}': torch.full((1 << 20,), float(i)) for i in range(32)}  # 4 MB each
    if form == 'safetensors':
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == 'zip')
    script = (
        'import re, sys; from pathlib import Path; '
        'from depth_ros.checkpoints.read import read_checkpoint; '
        'peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", '
        'Path("/proc/self/status").read_text())[1]); before = peak(); '
        'kept = read_checkpoint(Path(sys.argv[1])); print(peak() - before)'
    )
    output = subprocess.run(
        [sys.executable, '-c', script, path], capture_output=True, text=True, check=True
    ).stdout
    assert 120 < int(output) / 1024 < 150  # MiB


def test_parameters_of_every_dtype_are_read_as_they_are(tmp_path):
    state = {
        str(dtype): torch.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
        for dtype in (
            *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool),
            *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        )
    }
    save_file(state, tmp_path / 'x.safetensors')
    torch.save(
        {k: torch.nn.Parameter(v, requires_grad=False) for k, v in state.items()},
        tmp_path / 'x.pth',
    )
    torch.save(state, tmp_path / 'legacy.pth', _use_new_zipfile_serialization=False)
    for file in tmp_path.iterdir():
        read = read_checkpoint(file)
        assert set(read) == set(state)
        for name, value in state.items():
            assert read[name].dtype == value.dtype and torch.equal(read[name], value)


def test_views_of_one_storage_stay_one_storage(tmp_path):
    whole = torch.arange(24.0).reshape(4, 6)
    state = {'whole': whole, 'part': whole[1:3, ::2], 'turned': whole.T, 'again': whole}
    for zipped in (True, False):
        torch.save(state, tmp_path / 'x.pth', _use_new_zipfile_serialization=zipped)
        read = read_checkpoint(tmp_path / 'x.pth')
        assert all(torch.equal(read[name], value) for name, value in state.items())
        assert len({value.untyped_storage().data_ptr() for value in read.values()}) == 1
