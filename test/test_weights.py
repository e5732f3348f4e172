# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: where they are looked for, and what is refused."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import save, save_file
from stand_ins import empty
from torch import nn
from torch.torch_version import TorchVersion

from depth_ros.checkpoints.families import describe, guess_family
from depth_ros.checkpoints.find import find_weights
from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.checkpoints.write import read_metadata, write_weights
from depth_ros.core.errors import ConfigError, WeightsError
from depth_ros.models import PRESETS

SOURCE = PRESETS['depth_anything_v2_small'].source
STATE = {'a': torch.arange(1000.0), 'b.c': torch.ones(2, 3)}


def saved(state=STATE, **options):
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


class Code:
    def __reduce__(self):
        return os.mkdir, ('executed',)


def scripted():
    """The members by which torch knows a TorchScript archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name in ('x/data.pkl', 'x/constants.pkl', 'x/version'):
            archive.writestr(name, b'3')
    return buffer.getvalue()


def tarred():
    """A file as of torch 0.1, with a name by which it looks like a pickle."""
    buffer = io.BytesIO()
    with tarfile.open(
        None, 'w', buffer, format=tarfile.USTAR_FORMAT, encoding='latin1'
    ) as archive:
        archive.addfile(tarfile.TarInfo('\x80'))
    return buffer.getvalue()


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'x.pth'


@pytest.mark.parametrize(
    'content',
    [
        saved(),
        saved(_use_new_zipfile_serialization=False),
        save(STATE),
        saved({'model': STATE, 'epoch': 3}),
        saved({'state_dict': {f'module.{k}': v for k, v in STATE.items()}}),
        saved({**STATE, 'height': 192, 'use_stereo': True, 'note': 'x', 'none': None}),
    ],
    ids=['zip', 'legacy', 'safetensors', 'wrapped', 'parallel', 'scalars'],
)
def test_tensors_are_read_whatever_the_wrapping(path, content):
    path.write_bytes(content)
    state = read_checkpoint(path)
    assert list(state) == list(STATE)
    assert all(torch.equal(state[k], STATE[k]) for k in STATE)


def test_a_name_that_all_share_is_dropped_where_we_know_none_with_it(tmp_path):
    def kept(*names):
        save_file({name: torch.ones(1) for name in names}, tmp_path / 'x.safetensors')
        return sorted(read_checkpoint(tmp_path / 'x.safetensors'))

    inner = ['depth_head.scratch.a', 'pretrained.blocks.0']
    assert kept(*(f'model.{name}' for name in inner)) == inner
    own = ['model.backbone.pretrained.a', 'model.head.scratch.sky_output_conv2.b']
    assert kept(*own) == own  # Depth Anything 3 has it in its published files
    assert kept('model.a', 'model.b') == ['model.a', 'model.b']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'is empty; download it again'),
        (b'<!DOCTYPE html><html>Not found</html>', 'is a web page or text'),
        (b'\n <html>', 'is a web page or text'),
        (b'{"error": "Invalid credentials"}', 'is a web page or text'),
        (
            b'version https://git-lfs.github.com/spec/v1\noid sha256:0',
            'is a git-lfs pointer.*git lfs pull',
        ),
        (b'\x08\x07\x12\x07pytorch', 'is neither safetensors nor a PyTorch file'),
        (saved()[:-2000], 'is truncated or broken .*; download it again'),
        (saved(_use_new_zipfile_serialization=False)[:-2000], 'is truncated or broken'),
        (saved(_use_new_zipfile_serialization=False)[:40], 'is truncated or broken'),
        (save(STATE)[:-100], 'is truncated or broken'),
        (save(STATE)[:30], 'is truncated or broken'),
        (saved({'a': Code()}), r'pickle of more than tensors \((posix|nt)\.mkdir\)'),
        (
            saved({'a': Code()}, _use_new_zipfile_serialization=False),
            'pickle of more than tensors',
        ),
        (
            pickle.dumps({'a': Code()}, protocol=2),
            'pickle of more than tensors|is truncated or broken',
        ),
        (saved(nn.Linear(2, 2)), 'pickle of more than tensors'),
        (saved(pickle_protocol=4), r'pickle of more than tensors \(operand 149\)'),
        (scripted(), r'pickle of more than tensors \(TorchScript\)'),
        (tarred(), r'pickle of more than tensors \(\.tar\)'),
        (saved([torch.zeros(1)]), 'holds a list, not named tensors'),
        (saved({'a': {'b': torch.zeros(1)}, 'c': torch.zeros(1)}), "'a' is a dict, not a tensor"),
        (saved({'a': 1}), 'holds no tensors'),
    ],
    # bytes of a pickle hold addresses: each process of pytest-xdist would have other names
    ids=lambda value: 'file' if isinstance(value, bytes) else None,
)
def test_what_is_no_checkpoint_is_refused_and_never_run(path, content, message):
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)
    assert 'weights_only' not in str(error.value)  # torch advises to switch it off
    assert not (path.parent / 'executed').exists()


@pytest.mark.parametrize('version', ['2.3.0', '2.6.0+cu124', '2.9.1', '2.10.0a0+nv25.12'])
def test_a_pickle_is_refused_where_torch_is_not_safe(path, monkeypatch, version):
    torch.save(STATE, path)
    monkeypatch.setattr(torch, '__version__', TorchVersion(version))
    with pytest.raises(WeightsError, match=r'CVE.*; install torch 2\.10 or newer, or .*safete'):
        read_checkpoint(path)
    save_file(STATE, path)
    assert set(read_checkpoint(path)) == set(STATE)


def test_a_safetensors_that_can_only_map_the_file_is_refused(path, monkeypatch):
    save_file(STATE, path)
    monkeypatch.setattr(safetensors, '__version__', '0.7.0')
    with pytest.raises(WeightsError, match=r'0\.7\.0 is installed: pip install --upgrade safe'):
        read_checkpoint(path)


@pytest.mark.filterwarnings('ignore::UserWarning')  # prototypes of torch
@pytest.mark.parametrize(
    ('make', 'kind'),
    [
        (lambda: torch.empty(2, 3, device='meta'), 'meta'),
        (lambda: torch.eye(3).to_sparse(), 'sparse_coo'),
        (lambda: torch.eye(3).to_sparse_csr(), 'sparse_csr'),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), 'qint8'),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), 'nested'),
        (lambda: torch.ones(3).to(torch.float8_e4m3fn), 'float8_e4m3fn'),
        (lambda: torch.ones(3, dtype=torch.complex64), 'complex64'),
    ],
)
def test_a_tensor_of_an_unusual_kind_is_refused_by_name(path, make, kind):
    torch.save(STATE | {'c': make()}, path)
    with pytest.raises(WeightsError, match=f"'c' is a {kind} tensor; set weights to .* plain num"):
        read_checkpoint(path)


def test_a_parameter_is_read_as_a_tensor(path):
    torch.save({'a': nn.Parameter(torch.ones(2))}, path)
    value = read_checkpoint(path)['a']
    assert type(value) is torch.Tensor and not value.requires_grad


def test_a_pickle_that_states_more_numbers_than_the_file_has_is_refused(path):
    stated, false = b'M' + struct.pack('<H', 1000), b'J' + struct.pack('<i', 1 << 28)
    with zipfile.ZipFile(io.BytesIO(saved())) as old, zipfile.ZipFile(path, 'w') as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith('data.pkl'):
                assert content.count(stated) == 2  # of the storage, and of the tensor
                content = content.replace(stated, false)
            new.writestr(name, content)
    with pytest.raises(WeightsError, match='is truncated or broken'):
        read_checkpoint(path)


class Call:
    """Makes a pickle call `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_objects_beside_the_tensors_are_not_created(path):
    huge = Call(np.ndarray, (1 << 60,))  # numpy would raise
    torch.save({'model': KNOWN, 'beside': huge, 'type': Call(np.dtype, 'no type')}, path)
    assert read_checkpoint(path) == KNOWN


def test_a_missing_file_is_named_with_its_whole_path(path):
    with pytest.raises(WeightsError, match=f'{path} does not exist'):
        read_checkpoint(path)


@pytest.mark.parametrize(
    'weights', ['./here', 'models/x.pth', '/a/b', 'x.pth', '~/no/such/file', 'a/b/c', 'name']
)
def test_a_path_that_does_not_exist_is_named_with_its_whole_path(path, weights):
    with pytest.raises(
        WeightsError, match=r'weights: /.* does not exist; give a file, a folder or a hub id'
    ):
        find_weights(weights, SOURCE)


def test_a_file_is_taken_as_it_is(path, caplog):
    path.touch()
    assert find_weights(str(path), SOURCE) == path
    assert not caplog.records


def test_a_file_with_the_published_name_and_other_content_is_taken_with_a_warning(
    tmp_path, caplog
):
    path = tmp_path / SOURCE.file
    path.write_bytes(b'fine-tuned')
    assert find_weights(str(path), SOURCE) == path
    assert 'sha256 differs' in caplog.text


@pytest.mark.parametrize(
    ('files', 'taken'),
    [
        ([SOURCE.file, 'other.pth', 'model.safetensors'], SOURCE.file),
        (['other.bin', 'README.md'], 'other.bin'),
        (['other.safetensors', 'config.json'], 'other.safetensors'),
        (['a.pth', 'b.pt'], None),
        (['README.md', 'model.onnx'], None),
    ],
)
def test_a_folder_holds_the_published_name_or_one_checkpoint(tmp_path, files, taken):
    for file in files:
        (tmp_path / file).write_bytes(b'x')
    if taken:
        assert find_weights(str(tmp_path), SOURCE) == tmp_path / taken
        return
    with pytest.raises(WeightsError, match=r'holds .*and no .*\.pth; set weights') as error:
        find_weights(str(tmp_path), SOURCE)
    assert all((f in str(error.value)) == f.endswith(('.pth', '.pt')) for f in files)


@pytest.mark.parametrize('name', ['net.onnx', 'net.tflite', 'net.xml'])
def test_a_folder_holds_one_file_of_a_network(tmp_path, name):
    for file in (name, 'net.pth', 'net.bin'):
        (tmp_path / file).touch()
    assert find_weights(str(tmp_path), PRESETS['onnx'].source) == tmp_path / name


def test_presets_without_weights_take_none():
    assert find_weights('', PRESETS['flat_wall'].source) is None
    with pytest.raises(ConfigError, match='leave it empty'):
        find_weights('x.pth', PRESETS['flat_wall'].source)


def test_a_network_of_your_own_must_be_given():
    with pytest.raises(WeightsError, match=r'set weights to your \.onnx, \.tflite or \.xml file'):
        find_weights('', PRESETS['onnx'].source)


def test_loading_takes_every_tensor_onto_an_empty_module():
    with torch.device('meta'):
        module = nn.Linear(2, 3)
    state = {'weight': torch.ones(3, 2), 'bias': torch.zeros(3), 'old.bias': torch.zeros(1)}
    load_strict(module, state, path='x.pth', ignore=[r'old\..*'])
    assert torch.equal(module(torch.ones(2)), torch.full((3,), 2.0))


@pytest.mark.parametrize('count', [None, torch.tensor(7), torch.tensor(7.0).half()])
def test_how_many_steps_were_trained_does_not_matter(count):
    state = nn.BatchNorm2d(2).state_dict()
    state.pop('num_batches_tracked')
    state |= {} if count is None else {'num_batches_tracked': count}
    with torch.device('meta'):
        module = nn.Sequential(nn.BatchNorm2d(2))
    load_strict(module, {f'0.{name}': value for name, value in state.items()}, path='x.pth')
    assert module[0].num_batches_tracked == 0


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'bias': None}, '1 missing: bias$'),
        ({'surplus': torch.zeros(1)}, '1 unexpected: surplus$'),
        (
            {'weight': torch.ones(2, 3)},
            r'1 of another shape: weight \(2, 3\) instead of \(3, 2\)$',
        ),
        ({'bias': torch.tensor([0.0, float('nan'), 1.0])}, '1 tensors are not finite: bias'),
        ({'bias': torch.tensor([0.0, float('inf'), 1.0])}, '1 tensors are not finite: bias'),
        ({f's{i}': torch.zeros(1) for i in range(9)}, '9 unexpected: s0, s1, s2, ...$'),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(change, message):
    state = {'weight': torch.ones(3, 2), 'bias': torch.zeros(3), **change}
    state = {k: v for k, v in state.items() if v is not None}
    with pytest.raises(WeightsError, match=message):
        load_strict(nn.Linear(2, 3), state, path='x.pth')


@pytest.mark.parametrize(
    ('layout', 'family'),
    [
        ('da1-vits', 'Depth Anything v1 or v2'),
        ('da1-metric-vitl', 'Depth Anything v1 metric (ZoeDepth)'),
        ('da2-vitg', 'Depth Anything v1 or v2'),
        ('da3-small', 'Depth Anything 3 (any-view)'),
        ('da3-giant', 'Depth Anything 3 (any-view)'),
        ('da3metric-large', 'Depth Anything 3 (metric or mono)'),
        ('da3mono-large', 'Depth Anything 3 (metric or mono)'),
        ('depth_pro', 'Depth Pro'),
        ('dust3r-224_linear', 'DUSt3R'),
        ('dust3r-512_dpt', 'DUSt3R'),
        ('glp', 'GLPDepth'),
        ('monodepth2-640x192-encoder', 'Monodepth2 encoder'),
        ('monodepth2-r50_640x192-encoder', 'Monodepth2 encoder'),
        ('monodepth2-640x192-depth', 'Monodepth2 decoder'),
    ],
)
def test_a_checkpoint_is_recognised_by_its_names(layout, family):
    assert guess_family(empty(layout)) == family


def test_one_file_of_both_parts_of_monodepth2_is_recognised():
    parts = {**empty('monodepth2-640x192-depth'), **empty('monodepth2-640x192-encoder')}
    assert guess_family(parts) == 'Monodepth2'
    pose = {f'pose_encoder.{name}': 0 for name in empty('monodepth2-640x192-encoder')}
    pose['pose.net.0.weight'] = 0
    assert guess_family(pose) == 'Monodepth2 pose network'
    assert guess_family({**parts, **pose}) == 'Monodepth2'


def test_words_are_written_beside_the_tensors(tmp_path):
    path = tmp_path / 'a.safetensors'
    path.write_bytes(b'what was there before')
    assert read_metadata(path) == {}
    state = {'half': torch.ones(3, 2).half(), 'view': torch.arange(12.0).view(3, 4).T}
    write_weights(path, state, {'key': 'wörd "in" quotes'})
    assert read_metadata(path) == {'format': 'pt', 'key': 'wörd "in" quotes'}
    read = read_checkpoint(path)
    assert read.keys() == state.keys(), 'the words are no tensor'
    assert all(torch.equal(read[k], v) and read[k].dtype == v.dtype for k, v in state.items())
    assert path.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ['a.safetensors'], 'nothing else is left'
    write_weights(path, state)
    assert read_metadata(path) == {'format': 'pt'}
    for missing in (tmp_path / 'no', tmp_path):
        assert read_metadata(missing) == {}


def test_weights_that_cannot_be_written_are_reported(tmp_path):
    with pytest.raises(WeightsError, match=r'no/a.safetensors cannot be written .*: choose a fol'):
        write_weights(tmp_path / 'no' / 'a.safetensors', STATE)
    (tmp_path / 'folder').mkdir()
    with pytest.raises(WeightsError, match='folder cannot be written'):
        write_weights(tmp_path / 'folder', STATE)
    assert [p.name for p in tmp_path.iterdir()] == ['folder']


def test_unknown_names_are_of_no_family():
    assert guess_family(['a', 'b.c']) is None


def test_safetensors_are_recognised_by_content_not_by_name(tmp_path):
    path = tmp_path / 'x.pth'
    save_file(STATE, path)
    assert torch.equal(read_checkpoint(path)['a'], STATE['a'])


#: names by which Depth Anything 1 and 2 are recognised
KNOWN = {'pretrained.blocks.0.a': torch.ones(1), 'depth_head.scratch.b': torch.zeros(1)}


@pytest.mark.parametrize(
    'prefix', ['_orig_mod.', 'module.', 'net.', 'module._orig_mod.', 'model.depth_net.', 'a.b.c.']
)
def test_a_prefix_before_all_names_is_left_out(path, caplog, prefix):
    torch.save({prefix + k: v for k, v in KNOWN.items()}, path)
    caplog.set_level('INFO', logger='depth_ros')
    assert read_checkpoint(path) == KNOWN
    marks = prefix.replace('_orig_mod.', '').removeprefix('module.')
    assert (f'the prefix {marks!r} of its names is left out' in caplog.text) == bool(marks)


def test_parts_of_a_network_that_were_compiled_are_read(path):
    torch.save({k.replace('.', '._orig_mod.', 1): v for k, v in KNOWN.items()}, path)
    assert read_checkpoint(path) == KNOWN


def test_a_tensor_outside_the_prefix_is_not_lost(path):
    torch.save({**{f'net.{k}': v for k, v in KNOWN.items()}, 'loss.w': torch.ones(1)}, path)
    assert list(read_checkpoint(path)) == [*KNOWN, 'loss.w']
    torch.save({**KNOWN, **{f'module.{k}': v for k, v in KNOWN.items()}}, path)
    with pytest.raises(WeightsError, match='holds tensors twice, with and without'):
        read_checkpoint(path)


def test_two_prefixes_are_named():
    names = ['encoder.pretrained.blocks.0', 'decoder.depth_head.scratch.b']
    assert describe(names) == (
        'looks like a Depth Anything v1 or v2 checkpoint, of which only the prefixes of the names '
        "are wrong ('encoder.' and 'decoder.'): rename them, or save the state_dict() of the "
        'network itself'
    )


OPTIMIZER = {'state': {0: {'step': torch.ones(1)}}, 'param_groups': [{'lr': 1e-4}]}


@pytest.mark.parametrize(
    'content',
    [
        {'model_state_dict': KNOWN, 'optimizer_state_dict': OPTIMIZER, 'epoch': 3},
        {'net': KNOWN, 'optim': OPTIMIZER},
        {'checkpoint': {'student': KNOWN}, 'config': {'a': [1, 2]}},
        {'model': KNOWN, 'ema': {k: v + 1 for k, v in KNOWN.items()}},
        {**KNOWN, 'best': np.float64(0.1), 'when': np.datetime64('2026-01-01'), 'who': {1, 2}},
        {'state_dict': KNOWN, 'scores': np.arange(3), 'epoch': np.int64(7), 'who': {1, 2}},
        OrderedDict(KNOWN),
    ],
    ids=['usual', 'other name', 'deep', 'average too', 'numpy', 'numpy beside', 'ordered'],
)
@pytest.mark.parametrize('zipped', [True, False])
def test_what_training_programs_put_around_the_tensors_is_left_out(path, content, zipped):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert read_checkpoint(path) == KNOWN


def test_several_sets_of_tensors_are_not_chosen_from(path):
    torch.save({'student': KNOWN, 'teacher': KNOWN | {'a': torch.ones(1)}}, path)
    with pytest.raises(WeightsError, match='several sets of tensors: student, teacher; set weigh'):
        read_checkpoint(path)


def test_dictionaries_within_themselves_are_no_trouble(path):
    content = {'epoch': 3}
    content['self'] = content
    torch.save(content, path)
    with pytest.raises(WeightsError, match='dict, not a tensor'):
        read_checkpoint(path)


def in_parts(folder, suffix='.safetensors', change=()):
    """`STATE` in two files with an index; `change` is put into its map."""
    stem = 'model' if suffix == '.safetensors' else 'pytorch_model'
    files = {
        name: f'{stem}-{i}-of-00002{suffix}'
        for name, i in zip(STATE, ('00001', '00002'), strict=True)
    }
    for name, file in files.items():
        content = {name: STATE[name]}
        (folder / file).write_bytes(save(content) if suffix == '.safetensors' else saved(content))
    index = folder / f'{stem}{suffix}.index.json'
    index.write_text(json.dumps({'metadata': {}, 'weight_map': files | dict(change)}))
    return index


@pytest.mark.parametrize('suffix', ['.safetensors', '.bin'])
def test_a_checkpoint_in_parts_is_given_by_folder_index_or_part(tmp_path, suffix):
    index = in_parts(tmp_path, suffix)
    for given in (tmp_path, index, next(tmp_path.glob(f'*-00002-of-*{suffix}'))):
        path = find_weights(str(given), SOURCE)
        assert path == index
        state = read_checkpoint(path)
        assert set(state) == set(STATE) and all(torch.equal(state[k], STATE[k]) for k in STATE)


def test_parts_without_their_index_are_refused(tmp_path):
    index = in_parts(tmp_path)
    index.unlink()
    for given in (tmp_path, *tmp_path.glob('*00001*')):
        with pytest.raises(WeightsError, match=r'is one of 2 files .*index\.json is missing.*'):
            find_weights(str(given), SOURCE)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'x': '../model-00001-of-00002.safetensors'}, r'is not in its folder\); download it'),
        ({'x': 3}, 'is no index of a checkpoint .*download it again'),
        ({'x': 'model-00003-of-00003.safetensors'}, 'is missing beside it; download it'),
        ({'x': 'model-00001-of-00002.safetensors'}, r'other tensors than .*; download both again'),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path, change, message):
    index = in_parts(tmp_path, change=change)
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(index)


@pytest.mark.parametrize('text', ['', '[]', '{"weight_map": 3}', '{"weight_map": {}}', '[' * 9999])
def test_a_file_that_is_no_index_is_refused(tmp_path, text):
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text(text)
    with pytest.raises(WeightsError, match=f'{index} .*download it again'):
        read_checkpoint(index)


def test_a_part_that_is_missing_is_named(tmp_path):
    index = in_parts(tmp_path)
    (tmp_path / 'model-00002-of-00002.safetensors').unlink()
    with pytest.raises(WeightsError, match=r'names model-00002-of\S+, which is missing'):
        read_checkpoint(index)
