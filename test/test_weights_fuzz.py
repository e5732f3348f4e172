# SPDX-License-Identifier: Apache-2.0
"""Rubbish in place of a checkpoint: refused with its name and a remedy, and never run."""

import base64
import gzip
import io
import os
import pickle
import random
import re
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from stand_ins import empty

from depth_ros import models
from depth_ros.checkpoints.find import find_weights
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.core.errors import ConfigError, WeightsError
from depth_ros.models import PRESETS, ModelOptions

V2, V3, NANO = 'depth_anything_v2_small', 'depth_anything_v3_small', 'nano'
BINS, PRO, DUST3R = 'depth_anything_v1_metric_indoor_large', 'depth_pro', 'dust3r_512_dpt'
INDOOR = 'depth_anything_v2_metric_indoor_small'
MOGE = 'moge2_vits_normal'
GLP, MONO, MONO_50 = 'glpdepth_nyu', 'monodepth2_mono_640x192', 'monodepth2_mono_resnet50_640x192'
#: One of each kind of network -> the layout of its published file.
LAYOUT_OF = {
    V2: 'da2-vits',
    V3: 'da3-small',
    BINS: 'da1-metric-vitl',
    PRO: 'depth_pro',
    DUST3R: 'dust3r-512_dpt',
    GLP: 'glp',
    MOGE: 'moge2-vits-normal',
    MONO: 'monodepth2-640x192',
    MONO_50: 'monodepth2-r50_640x192',
}
REMEDY = re.compile(
    r'download|set (weights|model)|takes (the |[\w-]+\.(pth|pt|bin|safetensors))'
    r'|presets of that size: \w|the zip at .* holds|Convert it|give a file|leave weights empty'
)
pytestmark = [
    pytest.mark.filterwarnings('ignore:Detected pickle protocol'),
    pytest.mark.filterwarnings('ignore:Validating sparse tensor'),
]
STATE = {'a': torch.arange(1000.0), 'b.c': torch.ones(2, 3)}


def saved(state=STATE, **options):
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


def packed(files, packing=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', packing) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(name, content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO(content))
    return buffer.getvalue()


def safetensors(header, length=None, body=b''):
    header = header.encode()
    return struct.pack('<Q', len(header) if length is None else length) + header + body


class Runs:
    """Calls `function` when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


TRAP = Path('trap')  # what code that runs would leave in the current folder
CODE = {
    'a folder': Runs(os.mkdir, str(TRAP)),
    'a shell': Runs(os.system, f'touch {TRAP}'),
    'eval': Runs(eval, f'open({str(TRAP)!r}, "w")'),
    'a loader': Runs(pickle.loads, pickle.dumps(Runs(os.mkdir, str(TRAP)))),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def file_of(name, folder, state):
    """A file, or two, of the published kind that hold `state`; what a user would give."""
    if not name.startswith('monodepth2'):
        torch.save(state, folder / 'x.pth')
        return folder / 'x.pth'
    decoder = {k: v for k, v in state.items() if k.startswith('decoder.')}
    facts = {'width': 640, 'height': 192, 'use_stereo': False}
    torch.save(decoder, folder / 'depth.pth')
    torch.save(
        {k: v for k, v in state.items() if k not in decoder} | facts, folder / 'encoder.pth'
    )
    return folder / 'encoder.pth'


@pytest.fixture(scope='module')
def published():
    """`published(name)`: the tensors of the preset's file, zeros that take no room."""

    def state(name):
        layout = LAYOUT_OF[name]
        parts = ('-encoder', '-depth') if layout.startswith('monodepth2') else ('',)
        return {
            k: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
            for part in parts
            for k, tensor in empty(layout + part).items()
        }

    return state


def load(name, weights):
    path = find_weights(str(weights), PRESETS[name].source)
    return models.load(name, ModelOptions(weights=path))


def refused(name, weights, where=None):
    """What is said when the preset is started with `weights`, which must name them."""
    with pytest.raises((WeightsError, ConfigError)) as error:
        load(name, weights)
    said = str(error.value)
    assert str(where or weights) in said
    assert REMEDY.search(said), said
    assert not TRAP.exists()
    return said


RUBBISH = {
    'nothing': b'',
    'random bytes': random.Random(0).randbytes(5000),
    'random bytes after a zip mark': b'PK\3\4' + random.Random(1).randbytes(5000),
    'random bytes after a pickle mark': b'\x80\2' + random.Random(2).randbytes(5000),
    'random bytes after a safetensors mark': safetensors('{"', 2, random.Random(3).randbytes(99)),
    'zeros': bytes(5000),
    'text': b'epoch 3, loss 0.1\n' * 9,
    'a picture': base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ'),
    'gzip': gzip.compress(saved(), mtime=0),
    'tar': tarred('data.pkl', saved()),
    'a header longer than can be': safetensors('{"a":{}}', 2**60),
    'a header longer than the file': safetensors('{"a":{}}', 2**20),
    'a header of broken JSON': safetensors('{"a":[}', None),
    'a header of another shape': safetensors('{"a": 7, "b": []}'),
    'an unknown type': safetensors('{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,1]}}'),
    'tensors beyond the end': save(STATE)[:-1],
    'tensors on top of each other': safetensors(
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        '"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        body=bytes(4),
    ),
    'a shape beyond all numbers': safetensors(
        '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}', body=bytes(4)
    ),
    'a header without tensors': safetensors('{"__metadata__":{"format":"pt"}}'),
    'a zip of text': packed({'readme.txt': b'hello'}),
    'a zip without a file': packed({}),
    'half a zip': saved()[: len(saved()) // 2],
    'half a legacy file': saved(_use_new_zipfile_serialization=False)[:3000],
    'a number': saved(7),
    'a bare tensor': saved(torch.zeros(3)),
    'a list': saved([torch.zeros(3)]),
    'no tensors': saved({'a': 1, 'b': 'x'}),
    'an optimizer': saved({'state': {0: {'step': torch.zeros(1)}}, 'param_groups': []}),
    'a whole module': saved(torch.nn.Linear(2, 2)),
    'strange names': saved({7: torch.zeros(1), (1, 2): torch.zeros(1), '': torch.zeros(1)}),
    **{f'code, {k}': saved({'a': v}) for k, v in CODE.items()},
    **{
        f'code among the names, {k}': saved({'model': {'a': torch.zeros(1)}, 'args': v})
        for k, v in CODE.items()
    },
    'code in a legacy file': saved({'a': CODE['a folder']}, _use_new_zipfile_serialization=False),
    **{
        f'code in a bare pickle of protocol {n}': pickle.dumps(CODE['a folder'], protocol=n)
        for n in range(6)
    },
}


@pytest.mark.parametrize('name', [MONO, NANO])
@pytest.mark.parametrize('kind', RUBBISH)
def test_rubbish_is_refused_by_name_with_a_remedy_and_never_run(folder, kind, name):
    file = folder / 'x.pth'
    file.write_bytes(RUBBISH[kind])
    refused(name, file)


@pytest.mark.parametrize('name', [V2, GLP, DUST3R, MOGE, PRO])
@pytest.mark.parametrize(
    'kind', ['random bytes', 'a zip of text', 'code, a shell', 'a bare tensor']
)
def test_each_family_refuses_rubbish(folder, kind, name):
    file = folder / 'x.pth'
    file.write_bytes(RUBBISH[kind])
    refused(name, file)


@pytest.mark.parametrize('file', ['encoder.pth', 'depth.pth'])
@pytest.mark.parametrize('zipped', [False, True])
@pytest.mark.parametrize(
    'kind', ['nothing', 'random bytes', 'half a zip', 'code, a shell', 'no tensors']
)
def test_one_good_file_of_two_does_not_help(folder, published, kind, file, zipped):
    file_of(MONO, folder, published(MONO))
    (folder / file).write_bytes(RUBBISH[kind])
    weights = folder
    if zipped:
        weights = folder / 'both.zip'
        both = {f: (folder / f).read_bytes() for f in ('encoder.pth', 'depth.pth')}
        weights.write_bytes(packed(both))
        with pytest.raises(WeightsError):
            load(MONO, weights)
        assert not TRAP.exists()
        return
    refused(MONO, weights)


@pytest.mark.parametrize('kind', CODE)
def test_the_same_code_runs_where_nothing_guards_it(folder, kind):
    pickle.loads(pickle.dumps(CODE[kind]))
    assert TRAP.exists()


@pytest.mark.parametrize('name', [V2, MONO, GLP, DUST3R, MOGE, PRO, NANO])
def test_a_folder_without_a_checkpoint_is_refused(folder, name):
    (folder / 'x.txt').touch()
    refused(name, folder)
    with pytest.raises(WeightsError, match=r'is a folder; set weights to one file'):
        models.load(name, ModelOptions(weights=folder))


@pytest.mark.parametrize('weights', ['~no such user/x.pth', '~nobody-here', 'x' * 5000, 'a\0b'])
def test_a_text_that_can_be_no_path_is_refused(weights):
    with pytest.raises(WeightsError, match='does not exist; give a file, a folder or a hub id'):
        find_weights(weights, PRESETS[V2].source)


@pytest.mark.skipif(not Path('/proc/self/mem').is_file(), reason='there is no /proc/self/mem')
def test_a_file_that_cannot_be_read_is_refused():
    assert 'cannot be read' in refused(V2, '/proc/self/mem')


FILES = {'m/encoder.pth': saved(), 'm/depth.pth': saved()}
FORMS = {
    'zip': saved(),
    'legacy': saved(_use_new_zipfile_serialization=False),
    'safetensors': save(STATE),
    'pickle': pickle.dumps({'a': 1, 'b': [1, 2.0, 'x']}, protocol=2),
    'stored files': packed(FILES, zipfile.ZIP_STORED),
    'deflated files': packed(FILES, zipfile.ZIP_DEFLATED),
    'bzip2 files': packed(FILES, zipfile.ZIP_BZIP2),
    'lzma files': packed(FILES, zipfile.ZIP_LZMA),
}


def damaged(content, dice):
    """`content` with some bytes changed, most of them where its structure is; or cut."""
    content = bytearray(content)
    size = len(content)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        place = dice.choice((range(size), range(min(400, size)), range(max(0, size - 400), size)))
        content[dice.choice(place)] = dice.randrange(256)
    return content[: dice.randrange(size)] if dice.random() < 0.3 else content


@pytest.mark.parametrize('form', FORMS)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(folder, form):
    many = form.endswith('files')
    file = folder / ('x.zip' if many else 'x.pth')
    outcomes = {'read': 0, 'refused': 0}
    for seed in range(40 if many else 400):
        file.unlink(missing_ok=True)  # what was read may still be mapped
        file.write_bytes(damaged(FORMS[form], random.Random(f'{form} {seed}')))
        try:
            load(MONO, file) if many else read_checkpoint(file)
            outcomes['read'] += 1
        except WeightsError as error:
            assert str(file) in str(error) and REMEDY.search(str(error)), f'{seed}: {error}'
            outcomes['refused'] += 1
    # no pickle and no zip here holds what is asked for, whole as they may be
    assert outcomes['refused'] > 35
    assert (outcomes['read'] > 30) == (form in ('zip', 'legacy', 'safetensors'))


@pytest.mark.parametrize('form', ['zip', 'legacy', 'safetensors'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors', '.bin', ''])
def test_no_suffix_hides_what_a_file_is(folder, form, suffix):
    file = folder / f'x{suffix}'
    file.write_bytes(FORMS[form])
    assert torch.equal(read_checkpoint(file)['a'], STATE['a'])


def test_a_header_whose_length_looks_like_text_is_read(folder):
    for length in (0x3C20, 0x7B20):  # ' <' and ' {' at the beginning of the file
        bare = struct.unpack('<Q', save(STATE, {'x': ''})[:8])[0]
        file = folder / 'x.safetensors'
        save_file(STATE, file, {'x': 'x' * (length - bare)})
        assert file.read_bytes()[:8] == struct.pack('<Q', length)
        assert torch.equal(read_checkpoint(file)['a'], STATE['a'])


@pytest.mark.parametrize('name', [V2, MOGE, MONO, MONO_50])
def test_the_published_tensors_are_taken(folder, published, name):
    assert load(name, file_of(name, folder, published(name)))


@pytest.mark.parametrize('name', [V2, MOGE, MONO, NANO])
def test_a_checkpoint_of_another_network_is_refused(folder, published, name):
    for other in LAYOUT_OF:
        if other == name or {other, name} == {MONO, MONO_50}:
            continue
        file = file_of(other, folder, published(other))
        refused(name, file, folder)


@pytest.mark.parametrize(
    ('file', 'preset', 'expected'),
    [
        (V2, 'depth_anything_v2_base', r'is a ViT-S \(width 384\), .* a ViT-B; presets'),
        (V2, 'depth_anything_v2_metric_outdoor_large', 'is a ViT-S .*metric_indoor_small'),
        (V3, 'depth_anything_v3_base', 'is a ViT-S .*depth_anything_v3_small'),
        (V3, 'depth_anything_v3_metric_large', r'any-view.*takes model\.safetensors'),
        (BINS, 'depth_anything_v1_large', 'ZoeDepth.*takes pytorch_model.bin'),
        (V2, BINS, 'v1 or v2 checkpoint; .*takes depth_anything_metric_depth_indoor.pt'),
        (DUST3R, 'dust3r_512_linear', 'its heads are dpt; set model to dust3r_512_dpt'),
        (MONO_50, MONO, f'is resnet50 .* is resnet18 .*set model to {MONO_50}'),
        (MONO, MONO_50, f'is resnet18 .* is resnet50 .*set model to {MONO}'),
        (MONO, 'monodepth2_stereo_640x192', 'without stereo pairs, .* with stereo pairs'),
        (MONO, 'monodepth2_mono_1024x320', '640x192 .* 1024x320'),
    ],
)  # fmt: skip
def test_another_variant_is_refused_with_what_it_is(folder, published, file, preset, expected):
    given = file_of(file, folder, published(file))
    assert re.search(expected, refused(preset, given, folder))


@pytest.mark.parametrize(
    ('file', 'preset', 'right'),
    [
        ('depth_anything_v2_metric_hypersim_vits.pth', V2, INDOOR),
        ('best_model_kitti.ckpt', GLP, 'glpdepth_kitti'),
        ('glpn-kitti/model.safetensors', GLP, 'glpdepth_kitti'),
        ('stereo_640x192/encoder.pth', MONO, 'monodepth2_stereo_640x192'),
    ],
)  # fmt: skip
def test_variants_of_the_same_tensors_are_distinguished_by_their_names(
    folder, file, preset, right
):
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(saved())
    assert f'set model to {right}' in refused(preset, path, folder)


def odd(kind):
    """`odd(kind)(tensor)`: another in its place."""
    return {
        'another shape': lambda t: torch.zeros(7, 7, 7),
        'no shape': lambda t: torch.zeros(()),
        'one side less': lambda t: t[0],
        'whole numbers': lambda t: t.long(),
        'truths': lambda t: t.bool(),
        'complex': lambda t: t.to(torch.complex64),
        '8 bits': lambda t: torch.zeros(t.shape).to(torch.float8_e4m3fn),
        'sparse': lambda t: torch.zeros(t.shape).to_sparse(),
        'without content': lambda t: torch.zeros(t.shape, device='meta'),
        'NaN': lambda t: torch.tensor(torch.nan).expand(t.shape),
        'infinite': lambda t: torch.tensor(-torch.inf).expand(t.shape),
        'NaN in half precision': lambda t: torch.tensor(torch.nan).half().expand(t.shape),
        'a number': lambda t: 7,
        'a text': lambda t: 'x',
        'nothing': lambda t: None,
        'a dictionary': lambda t: {'x': t},
    }[kind]


KINDS = (
    'another shape', 'no shape', 'one side less', 'whole numbers', 'truths', 'complex', '8 bits',
    'sparse', 'without content', 'NaN', 'infinite', 'NaN in half precision', 'a number', 'a text',
    'nothing', 'a dictionary',
)  # fmt: skip


@pytest.mark.parametrize('name', [V2, MOGE, MONO])
@pytest.mark.parametrize('kind', KINDS)
def test_one_odd_tensor_among_many_is_refused(folder, published, name, kind):
    state = published(name)
    needed = [k for k in sorted(state) if state[k].is_floating_point() and state[k].ndim]
    needed = [
        k for k in needed if not re.search(r'mask_token|_aux|cam_|refinenet4.*Unit1|fc\.', k)
    ]
    key = random.Random(f'{name} {kind}').choice(needed)
    refused(name, file_of(name, folder, {**state, key: odd(kind)(state[key])}), folder)


@pytest.mark.parametrize('kind', KINDS)
def test_an_odd_token_is_refused_though_the_size_is_read_from_it(folder, published, kind):
    for name, key in ((V2, 'pretrained.cls_token'), (MOGE, 'encoder.backbone.cls_token')):
        state = published(name)
        refused(name, file_of(name, folder, {**state, key: odd(kind)(state[key])}))


@pytest.mark.parametrize('name', [V2, GLP, MOGE, MONO, DUST3R])
@pytest.mark.parametrize('change', ['missing', 'unexpected'])
def test_a_tensor_too_few_or_too_many_is_named(folder, published, name, change):
    state = published(name)
    if change == 'missing':
        prefix = {MONO: 'decoder.', DUST3R: 'dec_blocks.'}.get(name, '')
        del state[next(k for k in sorted(state) if k.startswith(prefix) and k.endswith('.bias'))]
    else:
        state['decoder.surplus' if name == MONO else 'surplus'] = torch.zeros(1)
    assert f'1 {change}: ' in refused(name, file_of(name, folder, state), folder)


@pytest.mark.parametrize('odd_one', [torch.zeros(5), torch.zeros(()), torch.zeros(3, 2)])
@pytest.mark.parametrize(
    ('name', 'known', 'attention', 'parts'),
    [
        (
            V2,
            ('backbone.embeddings.cls_token', 'neck.reassemble_stage.layers.0.projection.bias'),
            'backbone.encoder.layer.0.attention.attention',
            ('query', 'key', 'value'),
        ),
        (GLP, ('glpn.x',), 'glpn.encoder.block.0.0.attention.self', ('key', 'value')),
    ],
)
def test_matrices_that_cannot_be_joined_are_refused(
    folder, name, known, attention, parts, odd_one
):
    state = {k: torch.zeros(384) for k in known}
    state |= {f'{attention}.{part}.weight': torch.zeros(2, 2) for part in parts}
    state[f'{attention}.key.weight'] = odd_one
    assert 'does not fit' in refused(name, file_of(name, folder, state))


@pytest.mark.parametrize(
    ('name', 'config', 'expected'),
    [
        (V2, b'\xff\xfe{', None),
        (V2, b'[' * 100_000, None),
        (V2, b'[1, 2]', None),
        (V2, b'{"backbone_config": 3}', None),
        (V2, b'{"backbone_config": {"out_indices": 3}}', 'config.json .* other layers'),
        (V2, b'{"model_name": ["x"]}', r"config.json .* model_name \['x'\]"),
        (V2, b'{"backbone_config": {}, "depth_estimation_type": []}', None),
        (DUST3R, b'{"img_size": [512, "x"]}', None),
        (DUST3R, b'{"img_size": []}', None),
        (GLP, b'{"max_depth": {"x": 1}}', 'config.json .* max_depth'),
    ],
)  # fmt: skip
def test_a_config_that_says_nothing_is_passed_over_and_another_refused(
    folder, published, name, config, expected
):
    file = folder / 'model.safetensors'
    save_file({k: torch.zeros(1) for k in published(name)}, file)
    (folder / 'config.json').write_bytes(config)
    with pytest.raises(WeightsError, match=expected or 'is a ViT-|does not fit the network'):
        load(name, file)
