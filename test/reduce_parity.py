# SPDX-License-Identifier: Apache-2.0
"""Writes test/data (but the picture): the small part of the fixtures in ../shared.

`python test/reduce_parity.py ../shared`, after the fixtures there have changed.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
from parity import HERE, PARITY, Fixture, picture

#: Arrays of each case of several views: of all pixels, every 8th.
ANY_VIEW = {
    **dict.fromkeys(('depth', 'conf'), 8),
    **dict.fromkeys(('pose_enc', 'extrinsics', 'intrinsics', 'cam_token', 'scale'), 1),
    **dict.fromkeys(('extrinsics_normalised', 'intrinsics_network'), 1),
}
#: Fixture -> case here -> (case there, array -> every n-th of its pixels). '' are all others.
KEPT = {
    **{
        name: {'odd': ('odd', {'': 1}), 'picture': ('preprocess', {'': 8, 'network_input': 16})}
        for name in ('da1-vits', 'da2-vits', 'da2-vits-metric20')
    },
    'da3metric-large': {'odd': ('odd', {'': 1}), 'picture': ('main', {'': 8})},
    'da3-small': {
        'odd': ('odd', {**ANY_VIEW, 'depth': 2, 'conf': 2, 'input1': 1, 'input2': 1}),
        'odd1': ('odd1', {'': 1}),
        'three': (
            'three',
            {**ANY_VIEW, 'input1': 1, 'input2': 1, 'input3': 1, 'cls_before_selection': 1},
        ),
        'posed3': ('posed3', {**ANY_VIEW, 'depth_aligned': 8}),
    },
    'da3_pose': {f'align{count}': (f'align{count}', {'': 1}) for count in (2, 3, 5, 12)},
    'depth_pro': {'picture': ('main', {'': 16, 'network_input': 32, 'encoding4': 2})},
    'dust3r-224_linear': {'main': ('main', {'': 4, 'input1': 1, 'input2': 1})},
    'dust3r-512_dpt': {
        'odd': ('odd', {'': 4, 'input1': 1, 'input2': 1}),
        'mono': ('mono', {'': 4}),
        'picture': ('main', {'input1': 8}),
    },
    'glp-nyu': {'odd': ('odd', {'': 1}), 'picture': ('main', {'': 8})},
    'moge2-vits-normal': {'odd': ('odd', {'': 4}), 'picture': ('main', {'': 8})},
    'monodepth2-640x192': {'odd': ('odd', {'': 1}), 'picture': ('main', {'': 8})},
}
#: Arrays that no test looks at.
LEFT_OUT = {'output_sky_filled', 'tap_image', 'points_u'}
#: Files that are small as they are.
WHOLE = ('dust3r_focal', 'moge2_focal')
FACTS = ('family', 'quantity', 'mean', 'std', 'max_depth', 'images')


def reduced(fixture: Fixture, cases: dict) -> dict[str, np.ndarray]:
    """The arrays of a file here, from the fixture there."""
    arrays, described = {}, {}
    for case, (of, steps) in cases.items():
        there = fixture.cases[of]
        here = {k: v for k, v in there.items() if k not in ('arrays', 'source')}
        if case == 'picture':
            here['input'] = 'the picture'
        described[case] = {**here, 'of': of, 'arrays': {}}
        for name, info in there['arrays'].items():
            step = steps.get(name, steps.get(''))
            if step is None or name in LEFT_OUT:
                continue
            values = fixture.arrays[f'{of}_{name}']
            if name in ('input', 'input1') and case == 'odd':
                described[case]['input'] = crop_of_the_picture(values)
                continue
            axes = pixel_axes(name, info['shape'])
            stride = [max(n, step) if k in axes else n for k, n in enumerate(info['stride'])]
            part = (slice(None, None, a // b) for a, b in zip(stride, info['stride'], strict=True))
            arrays[f'{case}_{name}'] = np.ascontiguousarray(values[tuple(part)])
            described[case]['arrays'][name] = {'shape': info['shape'], 'stride': stride}
    if 'odd1' in described:  # the first view of a case that is not here
        described['odd1']['input'] = crop_of_the_picture(fixture.arrays['odd_input1'])
    facts = {k: fixture.meta[k] for k in FACTS if k in fixture.meta}
    return {**arrays, 'meta': np.array(json.dumps({**facts, 'cases': described}))}


def pixel_axes(name: str, shape: list[int]) -> tuple[int, ...]:
    if len(shape) == 1 or name.startswith(('tap', 'intrinsics_')):
        return ()
    if name.startswith(('pts3d', 'input', 'points', 'normal')):
        return 0, 1
    return len(shape) - 2, len(shape) - 1


def crop_of_the_picture(values: np.ndarray) -> dict:
    """Where the pixels are in the picture: all crops begin at the same one."""
    y, x, (h, w) = 200, 250, values.shape[:2]
    assert np.array_equal(picture()[y : y + h, x : x + w], values)
    return {'image': 0, 'y': y, 'x': x, 'h': h, 'w': w}


def layouts_in(folder: Path) -> dict:
    """Name -> [shape, type] of every published file that a preset loads, by layout."""
    files = sorted(f for f in folder.glob('*.json') if not f.stem.endswith('.model_config'))
    layouts = {file.stem: json.loads(file.read_text()) for file in files}
    for name, layout in layouts.items():
        config = folder / f'{name}.model_config.json'
        if config.exists():  # the file has it beside the tensors
            layout['model_config'] = ['python', 'dict', json.loads(config.read_text())]
    return layouts


if __name__ == '__main__':
    shared = Path(sys.argv[1])
    PARITY.mkdir(exist_ok=True)
    for name, cases in KEPT.items():
        whole = Fixture(shared / 'parity' / f'{name}.npz')
        np.savez_compressed(PARITY / f'{name}.npz', **reduced(whole, cases))
    for name in WHOLE:
        (PARITY / f'{name}.npz').write_bytes((shared / 'parity' / f'{name}.npz').read_bytes())
    keys = json.dumps(layouts_in(shared / 'keys'), separators=(',', ':'))
    sums = json.loads((shared / 'parity' / 'weights_sha256.json').read_text())
    sums = {k.removesuffix('.json'): v for k, v in sums.items()}
    (HERE / 'weights_sha256.json').write_text(json.dumps(sums, indent=1) + '\n')
    (HERE / 'keys.json.gz').write_bytes(gzip.compress(keys.encode(), 9, mtime=0))
