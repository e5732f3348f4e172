# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that were changed at random load as they should, or are refused with a remedy."""

import io
import json
import random
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from depth_ros import models
from depth_ros.checkpoints.find import find_weights
from depth_ros.core.errors import DepthRosError
from depth_ros.models import PRESETS, ModelOptions, nano

SOURCE = PRESETS['nano'].source
REMEDY = re.compile(r'download|set (weights|model)|leave weights empty|Convert it|give a file')


class Tiny(torch.nn.Module):
    """Some layers with names of nano, so that two thousand files take seconds."""

    def __init__(self):
        super().__init__()
        self.context = torch.nn.ModuleDict({'whole': torch.nn.Conv2d(3, 8, 3)})
        self.norm = torch.nn.BatchNorm2d(8)
        self.ups = torch.nn.ModuleList(torch.nn.Conv2d(8, 8, 1) for _ in range(2))


@pytest.fixture
def state(monkeypatch):
    monkeypatch.setattr(nano, 'Nano', Tiny)
    values = Tiny().state_dict()
    dice = torch.Generator().manual_seed(0)
    return {
        # numbers that all dtypes of a test can hold
        name: torch.randint(1, 8, value.shape, generator=dice).to(torch.float16)
        for name, value in values.items()
        if value.is_floating_point()
    }


def some(state, dice):
    return dice.choice([name for name in sorted(state) if state[name].is_floating_point()])


def replaced(state, dice, change):
    name = some(state, dice)
    return {**state, name: change(state[name])}


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


def renamed(state, name):
    return {f'{key}x' if key == name else key: value for key, value in state.items()}


def broken(value, dice):
    value = value.clone()
    value.view(-1)[dice.randrange(value.numel())] = dice.choice((torch.nan, torch.inf))
    return value


def prefixed(state, dice):
    prefix = ''.join(dice.choice(('net.', 'module.', '_orig_mod.', 'a.')) for _ in range(2))
    return {prefix + name: value for name, value in state.items()}


#: Changes of the tensors that every container can hold -> whether the network then loads.
TENSORS = {
    'nothing': (lambda s, d: s, True),
    'order': (lambda s, d: dict(d.sample(sorted(s.items()), len(s))), True),
    'prefix': (prefixed, True),
    'single precision': (lambda s, d: replaced(s, d, lambda t: t.float()), True),
    'double precision': (lambda s, d: replaced(s, d, lambda t: t.double()), True),
    'missing': (lambda s, d: without(s, some(s, d)), False),
    'renamed': (lambda s, d: renamed(s, some(s, d)), False),
    'extra': (lambda s, d: {**s, 'surplus': torch.zeros(d.randrange(9))}, False),
    'shape': (lambda s, d: replaced(s, d, lambda t: torch.cat((t, t))), False),
    'flat': (lambda s, d: replaced(s, d, lambda t: t.reshape(-1, 1, 1, 1, 1)), False),
    'empty': (lambda s, d: replaced(s, d, lambda t: t[:0]), False),
    'whole numbers': (lambda s, d: replaced(s, d, lambda t: t.to(torch.int32)), False),
    'truths': (lambda s, d: replaced(s, d, lambda t: t.bool()), False),
    '8 bits': (lambda s, d: replaced(s, d, lambda t: t.to(torch.float8_e4m3fn)), False),
    'not finite': (lambda s, d: replaced(s, d, lambda t: broken(t, d)), False),
}
#: Changes that only files of torch can hold.
OBJECTS = {
    'wrapped': (lambda s, d: {d.choice(('model', 'net', 'ema')): s, 'epoch': 3}, True),
    'wrapped twice': (lambda s, d: {'a': {'b': s}, 'optimizer': {'state': {}}}, True),
    'numbers beside': (lambda s, d: {**s, 'best': np.float64(0.1), 'note': 'x'}, True),
    'code beside': (lambda s, d: {**s, 'where': Path('x')}, False),
    'a list': (lambda s, d: list(s.values()), False),
    'a tensor': (lambda s, d: s[some(s, d)], False),
    'a network': (lambda s, d: torch.nn.Linear(2, 2), False),
    'names of numbers': (lambda s, d: dict(enumerate(s.values())), False),
    'a complex tensor': (
        lambda s, d: replaced(s, d, lambda t: torch.zeros(t.shape, dtype=torch.complex64)),
        False,
    ),
}


def in_bytes(form, content):
    if form == 'safetensors':
        return save({name: value.contiguous() for name, value in content.items()})
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=form == 'zip')
    return buffer.getvalue()


def flipped(content, dice):
    content = bytearray(content)
    size = len(content)
    for _ in range(dice.choice((1, 2, 8))):
        place = dice.choice((range(40), range(size // 2), range(size // 2, size), range(size)))
        content[dice.choice(place)] = dice.randrange(256)
    return bytes(content)


def lying(content, dice):
    """A size near the start or the end of the file is replaced by another."""
    size = struct.pack(dice.choice(('<Q', '<I', '>I', '<H')), dice.choice((1, 255, 2**15)))
    length = struct.pack('<Q', dice.choice((2**31 - 1, 2**40, 2**63 - 1)))
    start = dice.choice((0, 8, dice.randrange(len(content) - 8)))
    new = dice.choice((size, length))
    return content[:start] + new + content[start + len(new) :]


def zipped(content, dice):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(dice.choice(('x.pth', 'archive/data.pkl', 'encoder.pth')), content[:999])
    return buffer.getvalue()


#: Changes of the bytes -> whether they certainly cannot be loaded.
BYTES = {
    'flipped': (flipped, False),
    'lying': (lying, False),
    'cut off': (lambda c, d: c[: d.randrange(len(c) - 9)], True),
    'cut off at the front': (lambda c, d: c[d.randrange(1, len(c)) :], True),
    'empty': (lambda c, d: b'', True),
    'a web page': (lambda c, d: b'<!DOCTYPE html><html>' + bytes(d.randrange(99)), True),
    'text': (lambda c, d: b'epoch 3, loss 0.1\n' * d.randrange(1, 99), True),
    'JSON': (lambda c, d: json.dumps({'error': 'x' * d.randrange(99)}).encode(), True),
    'a zip': (zipped, True),
    'noise': (lambda c, d: c[:2] + d.randbytes(9999), True),
}


def peak_mb():
    return int(re.search(r'VmHWM:\s+(\d+)', Path('/proc/self/status').read_text())[1]) / 1024


def outcome(path):
    """The network, or None if the file is refused; anything else is a failure."""
    try:
        weights = find_weights(str(path), SOURCE)
        return models.load('nano', ModelOptions(weights=weights)).network
    except DepthRosError as error:
        assert str(path) in str(error) and REMEDY.search(str(error)), str(error)
        return None


def check(folder, state, seed):
    dice = random.Random(f'checkpoint {seed}')
    form = dice.choice(('zip', 'legacy', 'safetensors'))
    path = folder / f'x{dice.choice((".pth", ".safetensors", ".bin"))}'
    if dice.random() < 0.5:
        kinds = TENSORS if form == 'safetensors' else {**TENSORS, **OBJECTS}
        kind = dice.choice(sorted(kinds))
        change, loads = kinds[kind]
        path.write_bytes(in_bytes(form, change(state, dice)))
        network = outcome(path)
        assert (network is not None) == loads, (seed, kind, form)
        if network is not None:
            now = network.state_dict()
            assert all(torch.equal(now[name], state[name].float()) for name in state), (seed, kind)
        return kind
    kind = dice.choice(sorted(BYTES))
    change, refused = BYTES[kind]
    path.write_bytes(change(CONTENT.setdefault(form, in_bytes(form, state)), dice))
    network = outcome(path)
    assert not refused or network is None, (seed, kind, form)
    return kind


CONTENT: dict[str, bytes] = {}  # what is changed, for each form


@pytest.mark.filterwarnings('ignore:Casting complex', 'ignore:Detected pickle protocol')
@pytest.mark.parametrize('count', [2000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_checkpoint_changed_at_random_loads_as_it_should_or_is_refused(
    tmp_path, monkeypatch, state, count
):
    monkeypatch.chdir(tmp_path)
    check(tmp_path, state, 0)
    before = peak_mb()
    kinds = [check(tmp_path, state, seed) for seed in range(count)]
    assert {*kinds} == {*TENSORS, *OBJECTS, *BYTES}
    assert peak_mb() - before < 20  # files of some kilobytes
