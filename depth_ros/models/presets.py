# SPDX-License-Identifier: Apache-2.0
"""The table of presets: name, variant, and the source and licence of the weights."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from depth_ros.checkpoints.source import Source
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Kind
from depth_ros.models.interface import Preset, TrainingView
from depth_ros.parameters.settings import MAX_VIEWS

METRIC, CANONICAL = Kind.METRIC, Kind.CANONICAL
SCALE_INVARIANT, AFFINE_INVERSE = Kind.SCALE_INVARIANT, Kind.AFFINE_INVERSE

_APACHE, _NON_COMMERCIAL = 'Apache-2.0', 'CC-BY-NC-4.0'
# The model cards of the metric version 2 models state Apache-2.0 for every size, but the weights
# of their teacher and the data set Virtual KITTI 2 are non-commercial.
_CARD = 'Apache-2.0 (model card; training data and teacher have other terms)'

# Training views, 2 atan(side / 2 / focal length) of the published cameras
#: calib_cam_to_cam.txt of 2011_09_26: 721.5 px for 1242 x 375
_KITTI = TrainingView(81.4, 29.1, 'KITTI')
#: camera_params.m of its toolbox: 518.9 px for 640 x 480
_NYU = TrainingView(63.3, 49.6, 'NYU Depth V2')
#: 60 deg for 1024 x 768 (Roberts et al. 2021)
_HYPERSIM = TrainingView(60.0, 46.8, 'Hypersim')
#: intrinsic.txt: 725.0 px for 1242 x 375
_VKITTI = TrainingView(81.2, 29.0, 'Virtual KITTI 2')


def _depth_anything(
    version: int,
    name: str,
    variant: str,
    kind: Kind,
    repo: str,
    file: str,
    licence: str = _APACHE,
    max_depth: float = 0.0,
    sha256: str = '',
    trained: TrainingView | None = None,
) -> Preset:
    sizes = {'any_vits': 137, 'any_vitb': 540, 'vits': 99, 'vitb': 390, 'vitl': 1340}
    megabytes = next(mb for end, mb in sizes.items() if variant.endswith(end))
    paper = {1: '2401.10891', 2: '2406.09414', 3: '2511.10647'}[version]
    name = f'depth_anything_v{version}_{name}'
    confidence = {'confidence'} if variant.startswith('any_') else set()
    bound = {'max_depth'} if version == 2 and max_depth else set()  # version 1 has bins
    return Preset(
        name,
        'depth_anything',
        f'v{version}_{variant}',
        kind,
        Source(
            name,
            licence,
            restricted=licence == _NON_COMMERCIAL,
            repo=repo,
            file=file,
            sha256=sha256,
            megabytes=megabytes,
        ),
        paper=f'https://arxiv.org/abs/{paper}',
        max_depth=max_depth,
        max_views=MAX_VIEWS if variant.startswith('any_') else 1,
        takes=frozenset({'input_size', 'max_tokens'} | confidence | bound),
        trained=trained,
    )


def _version_1(size: str, letter: str) -> Preset:
    repo, file = f'LiheYoung/depth_anything_vit{letter}14', 'pytorch_model.bin'
    return _depth_anything(1, size, f'vit{letter}', AFFINE_INVERSE, repo, file)


def _version_1_metric(where: str, max_depth: float) -> Preset:
    space = 'spaces/LiheYoung/Depth-Anything/tree/main/checkpoints_metric_depth'
    file = f'depth_anything_metric_depth_{where}.pt'
    name = f'metric_{where}_large'
    trained = _NYU if where == 'indoor' else _KITTI
    return _depth_anything(
        1, name, 'metric_vitl', METRIC, space, file, max_depth=max_depth, trained=trained
    )


def _version_2(size: str, letter: str, licence: str, sha256: str = '') -> Preset:
    repo = f'depth-anything/Depth-Anything-V2-{size.capitalize()}'
    file, variant = f'depth_anything_v2_vit{letter}.pth', f'vit{letter}'
    return _depth_anything(2, size, variant, AFFINE_INVERSE, repo, file, licence, sha256=sha256)


def _version_2_metric(where: str, data: str, max_depth: float, size: str, letter: str) -> Preset:
    repo = f'depth-anything/Depth-Anything-V2-Metric-{data}-{size.capitalize()}'
    file = f'depth_anything_v2_metric_{data.lower()}_vit{letter}.pth'
    name, variant = f'metric_{where}_{size}', f'metric_vit{letter}'
    trained = _HYPERSIM if where == 'indoor' else _VKITTI
    return _depth_anything(2, name, variant, METRIC, repo, file, _CARD, max_depth, trained=trained)


def _version_3(name: str, variant: str, kind: Kind, repo: str) -> Preset:
    repo, file = f'depth-anything/{repo}', 'model.safetensors'
    return _depth_anything(3, name, variant, kind, repo, file)


def _monodepth2(variant: str, md5: str = '') -> Preset:
    name = f'monodepth2_{variant.replace("+", "_")}'
    server = 'https://storage.googleapis.com/niantic-lon-static/research/monodepth2/'
    return Preset(
        name,
        'monodepth2',
        variant,
        SCALE_INVARIANT if variant.startswith('mono_') else METRIC,
        Source(
            name,
            'Niantic, non-commercial',
            restricted=True,
            file='encoder.pth',
            url=f'{server}{quote(variant)}.zip',
            md5=md5,
            megabytes=0 if 'resnet50' in variant else 99,
        ),
        paper='https://arxiv.org/abs/1806.01260',
        takes=frozenset({'input_size'}),
        trained=_KITTI,
    )


def _glpdepth(variant: str, file: str, max_depth: float) -> Preset:
    # The network and its parts have three publishers with different licences.
    licence = (
        "non-commercial (authors); encoder under NVIDIA's Source Code License; "
        'hub card: Apache-2.0'
    )
    name, repo = f'glpdepth_{variant}', f'vinvino02/glpn-{variant}'
    return Preset(
        name,
        'glpdepth',
        variant,
        METRIC,
        Source(name, licence, restricted=True, repo=repo, file=file, megabytes=245),
        paper='https://arxiv.org/abs/2201.07436',
        max_depth=max_depth,
        takes=frozenset({'input_size', 'max_depth'}),
        trained=_NYU if variant == 'nyu' else _KITTI,
    )


def _dust3r(variant: str) -> Preset:
    name = f'dust3r_{variant}'
    return Preset(
        name,
        'dust3r',
        variant,
        SCALE_INVARIANT,
        Source(
            name,
            'CC-BY-NC-SA-4.0, and the terms of its training sets (MapFree and others)',
            restricted=True,
            repo=f'naver/DUSt3R_ViTLarge_BaseDecoder_{variant}',
            file='model.safetensors',
            megabytes=2280 if variant.endswith('dpt') else 2130,
        ),
        paper='https://arxiv.org/abs/2312.14132',
        estimates_camera=True,
        max_views=2,
        takes=frozenset({'input_size', 'max_tokens', 'confidence'}),
    )


def _depth_pro() -> Preset:
    # Apple's repository and the model card of the same file state different licences; the narrower
    # one is shown.
    licence = 'research only (model card: apple-amlr; repository: Apple sample code licence)'
    return Preset(
        'depth_pro',
        'depth_pro',
        'depth_pro',
        CANONICAL,
        Source(
            'depth_pro',
            licence,
            restricted=True,
            repo='apple/DepthPro',
            file='depth_pro.pt',
            megabytes=1900,
        ),
        paper='https://arxiv.org/abs/2410.02073',
        estimates_camera=True,
        takes=frozenset({'input_size', 'tile_batch'}),
    )


def _moge2(variant: str, megabytes: int) -> Preset:
    # The repository states the licence of its code only. That the model cards say MIT, and the
    # checksums of the files, are known from other people's projects alone: so there is no sha256,
    # as a wrong one would make the right file be deleted.
    name = f'moge2_{variant}'
    normals = ['normals'] if variant.endswith('_normal') else []
    return Preset(
        name,
        'moge',
        variant,
        METRIC,
        Source(
            name,
            'MIT (of the code; of the weights according to others: see the model card)',
            repo=f'Ruicheng/moge-2-{variant.replace("_", "-")}',
            file='model.pt',
            megabytes=megabytes,
        ),
        paper='https://arxiv.org/abs/2507.02546',
        estimates_camera=True,
        takes=frozenset({'input_size', 'max_tokens', *normals}),
        advice=(
            'good indoors, weak outdoors: there give it a source of scale (scaling.method anchors)'
        ),
    )


def _onnx(
    name: str,
    licence: str,
    paper: str = '',
    trained: TrainingView | None = None,
    **published: Any,
) -> Preset:
    source = Source(name, licence, suffixes=('.onnx', '.tflite', '.xml'), **published)
    takes = frozenset({'onnx', 'confidence'})
    return Preset(
        name, 'onnx', 'described', None, source, paper, casts=False, takes=takes, trained=trained
    )


def _fastdepth() -> Preset:
    # later commits of that repository have no such file
    commit, file = '49a017eafd3aebda9b6b827bd2a367ded1592efc', 'fast_depth_224.tflite'
    return _onnx(
        'fastdepth_nyu',
        'MIT',
        'https://arxiv.org/abs/1903.03273',
        _NYU,
        file=file,
        url=f'https://raw.githubusercontent.com/openmv/openmv/{commit}/lib/models/{file}',
        sha256='e8957602750f16ac130210868f4403b38b4042f0d10c00b89ec03fc3dc840125',
        megabytes=2,
    )


def _transformers() -> Preset:
    source = Source('transformers', 'that of the model card', suffixes=('.safetensors',))
    takes = frozenset({'transformers'})
    return Preset('transformers', 'transformers', 'any', None, source, takes=takes)


def _nano() -> Preset:
    file = Path(__file__).parent / 'nano' / 'nano.safetensors'
    return Preset(
        'nano',
        'nano',
        'nano',
        CANONICAL,
        Source('nano', _APACHE, packaged=file, megabytes=6),
        takes=frozenset({'input_size'}),
        advice=(
            'small demonstration network (2.6 M parameters), trained on synthetic images only; '
            'for a robot with a GPU set model:=depth_anything_v3_metric_large (Apache-2.0, '
            'downloads 1.3 GB at first use)'
        ),
        # `sim.world.camera_path`: focal lengths from half the width of an image of 4:3
        trained=TrainingView(90.0, 73.7, 'synthetic cameras'),
    )


def _flat(variant: str) -> Preset:
    name = f'flat_{variant}'
    return Preset(name, 'flat', variant, METRIC, Source(name, _APACHE, needed=False), casts=False)


_ROWS = (
    _version_1('small', 's'),
    _version_1('base', 'b'),
    _version_1('large', 'l'),
    _version_1_metric('indoor', 10.0),
    _version_1_metric('outdoor', 80.0),
    _version_2(
        'small', 's', _APACHE, '715fade13be8f229f8a70cc02066f656f2423a59effd0579197bbf57860e1378'
    ),
    _version_2('base', 'b', _NON_COMMERCIAL),
    _version_2('large', 'l', _NON_COMMERCIAL),
    _version_2_metric('indoor', 'Hypersim', 20.0, 'small', 's'),
    _version_2_metric('indoor', 'Hypersim', 20.0, 'base', 'b'),
    _version_2_metric('indoor', 'Hypersim', 20.0, 'large', 'l'),
    _version_2_metric('outdoor', 'VKITTI', 80.0, 'small', 's'),
    _version_2_metric('outdoor', 'VKITTI', 80.0, 'base', 'b'),
    _version_2_metric('outdoor', 'VKITTI', 80.0, 'large', 'l'),
    _version_3('metric_large', 'metric_vitl', CANONICAL, 'DA3METRIC-LARGE'),
    _version_3('mono_large', 'mono_vitl', SCALE_INVARIANT, 'DA3MONO-LARGE'),
    _version_3('small', 'any_vits', SCALE_INVARIANT, 'DA3-SMALL'),
    _version_3('base', 'any_vitb', SCALE_INVARIANT, 'DA3-BASE'),
    _monodepth2('mono_640x192', 'a964b8356e08a02d009609d9e3928f7c'),
    _monodepth2('stereo_640x192', '3dfb76bcff0786e4ec07ac00f658dd07'),
    _monodepth2('mono+stereo_640x192', 'c024d69012485ed05d7eaa9617a96b81'),
    _monodepth2('mono_1024x320', '0ab0766efdfeea89a0d9ea8ba90e1e63'),
    _monodepth2('stereo_1024x320', 'afc2f2126d70cf3fdf26b550898b501a'),
    _monodepth2('mono+stereo_1024x320', 'cdc5fc9b23513c07d5b19235d9ef08f7'),
    _monodepth2('mono_no_pt_640x192', '9c2f071e35027c895a4728358ffc913a'),
    _monodepth2('stereo_no_pt_640x192', '41ec2de112905f85541ac33a854742d1'),
    _monodepth2('mono+stereo_no_pt_640x192', '46c3b824f541d143a45c37df65fbab0a'),
    _monodepth2('mono_resnet50_640x192'),
    _glpdepth('nyu', 'model.safetensors', 10.0),
    _glpdepth('kitti', 'pytorch_model.bin', 80.0),
    _depth_pro(),
    _moge2('vits_normal', 141),
    _moge2('vitb_normal', 419),
    _moge2('vitl', 1305),
    _moge2('vitl_normal', 1324),
    _dust3r('224_linear'),
    _dust3r('512_linear'),
    _dust3r('512_dpt'),
    _onnx('onnx', 'that of your network'),
    _fastdepth(),
    _transformers(),
    _nano(),
    _flat('wall'),
    _flat('ground'),
)

#: name -> preset, in the order of the table
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ROWS}


def get(name: str, table: Mapping[str, Preset] = PRESETS) -> Preset:
    """The preset called `name`.

    Raises:
        ConfigError: unknown name; the message suggests the most similar one and lists all.
    """
    if name in table:
        return table[name]
    similar = difflib.get_close_matches(name, table, n=1)
    hint = f'did you mean {similar[0]!r}? ' if similar else ''
    raise ConfigError(f'model {name!r} is not a preset; {hint}presets: {", ".join(table)}')


def remedy_of_depth(config: Mapping[str, Any], preset: Preset) -> str:
    """What to do with a config.json that no preset agrees with, for a message."""
    stated = config.get('max_depth')
    if preset.max_depth and type(stated) in (int, float) and stated != preset.max_depth:
        return f'set max_depth to {stated:g}, with which this network was trained'
    return 'no preset is for it'


def presets_where(
    fits: Callable[[Preset], bool], presets: Iterable[Preset] = PRESETS.values()
) -> str:
    """Names of the presets for which `fits` is true, for a message: 'a or b', or ''."""
    return ' or '.join(preset.name for preset in presets if fits(preset))


def networks_with(ability: str) -> list[str]:
    """What has one of `parameters.settings.ABILITIES`: families, or presets if not all of one."""
    families: dict[str, list[Preset]] = {}
    for preset in PRESETS.values():
        families.setdefault(preset.family, []).append(preset)
    names = []
    for family, presets in families.items():
        able = [preset.name for preset in presets if ability in preset.takes]
        names += [family] if len(able) == len(presets) else able
    return names
