# SPDX-License-Identifier: Apache-2.0
"""The table of presets, and the door to the families.

A family is a folder with three doors: `__init__.py` (load, preprocessing, meaning of the output;
mostly a `one_view.OneView`), `network.py` (the layers) and `checkpoint.py` (published names -> ours).
To add one: its folder, its rows here, and a YAML of differences in config/models; the contract test
walks this table.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable
from urllib.parse import quote

import torch
from torch import Tensor

from depth_ros.camera import Camera
from depth_ros.data import Frame, Kind, Pair, Prediction
from depth_ros.errors import ConfigError
from depth_ros.models import linear
from depth_ros.settings import Onnx

Network = TypeVar('Network', bound=torch.nn.Module)


class DepthModel(Protocol):
    """What a family returns from `load`."""

    kind: Kind

    def predict(self, frame: Frame) -> Prediction:
        """Depth, in the model's own unit, for every pixel of an undistorted frame."""
        ...


@runtime_checkable
class TakesBatches(Protocol):
    """A `DepthModel` to which several frames at once are cheaper than one by one."""

    def predict_many(self, frames: list[Frame]) -> list[Prediction]:
        """What `predict` says of each; their cameras may differ."""
        ...


@runtime_checkable
class EstimatesCamera(Protocol):
    """A `DepthModel` that can tell the camera from its picture."""

    def estimated_camera(self, rgb: Tensor) -> Camera:
        """The camera that took (H, W, 3) uint8."""
        ...


@runtime_checkable
class TakesPairs(Protocol):
    """A `DepthModel` that also takes two views."""

    def predict_pair(self, first: Frame, second: Frame) -> Pair:
        """Depth of the first and where the second stood; both undistorted."""
        ...


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What a family needs besides its preset.

    Args:
        weights: the checkpoint file; None for families without one.
        device: where to infer.
        dtype: arithmetic of the network.
        threads: CPU threads.
        input_size: side the input is scaled to [px]; 0 takes the preset's.
        max_tokens: cap on transformer patches.
        tile_batch: tiles of a picture in memory at once, Depth Pro only; 0 is as the device bears.
        onnx: description of the network, family `onnx` only.
        estimate_camera: also load what `EstimatesCamera` needs.
    """

    weights: Path | None = None
    device: torch.device = field(default_factory=lambda: torch.device('cpu'))
    dtype: torch.dtype = torch.float32
    threads: int = 1
    input_size: int = 0
    max_tokens: int = 5000
    tile_batch: int = 0
    onnx: Onnx = field(default_factory=Onnx)
    estimate_camera: bool = False


@dataclass(frozen=True, slots=True)
class Preset:
    """One row of the table.

    Args:
        family: folder under depth_ros/models.
        variant: what the family calls it.
        kind: what its output means; None: config/models/<preset>.yaml says (onnx.kind).
        licence: of the weights, as the publisher states it.
        paper: where the network is described.
        repo: hub id of the published weights, or spaces/<id>/tree/main/<folder>; '' if there is
            none.
        file: name of the checkpoint in `repo`, or in the zip at `url`.
        sha256: of that file, where known.
        url: of a zip on the publisher's own server, for weights that are in no `repo`.
        md5: of that zip, where known.
        megabytes: of the file or zip; 0 if not known.
        packaged: name of the weights in the family's folder, for those that are in the package.
        needs_weights: False for presets that are only geometry.
        casts: False if the family does not follow the parameter `precision`.
        estimates_camera: the model is one that `EstimatesCamera`.
        takes_pairs: the model is one that `TakesPairs`.
        advice: what a user of it should know, said at each start.
    """

    family: str
    variant: str
    kind: Kind | None
    licence: str
    paper: str
    repo: str = ''
    file: str = ''
    sha256: str = ''
    url: str = ''
    md5: str = ''
    megabytes: int = 0
    packaged: str = ''
    needs_weights: bool = True
    casts: bool = True
    estimates_camera: bool = False
    takes_pairs: bool = False
    advice: str = ''

    @property
    def own_file(self) -> Path | None:
        """Where the weights of a packaged preset are; None for the others."""
        return Path(__file__).parent / self.family / self.packaged if self.packaged else None

    @property
    def restricted(self) -> bool:
        """Whether the licence of the weights forbids some uses, such as commercial ones."""
        words = ('non-commercial', '-nc', 'by-nc', 'research', 'sample')
        return any(word in self.licence.lower() for word in words)


_DA1 = 'https://arxiv.org/abs/2401.10891'
_DA2 = 'https://arxiv.org/abs/2406.09414'
_DA3 = 'https://arxiv.org/abs/2511.10647'
_NC = 'CC-BY-NC-4.0'
_SPACE = 'spaces/LiheYoung/Depth-Anything/tree/main/checkpoints_metric_depth'
_HYPERSIM = 'depth-anything/Depth-Anything-V2-Metric-Hypersim-'
_VKITTI = 'depth-anything/Depth-Anything-V2-Metric-VKITTI-'
# The cards of the metric version 2 models say Apache-2.0 for every size, while the teacher's weights
# and Virtual KITTI 2 are non-commercial: only what the card says is repeated here, with the doubt.
_CARD = 'Apache-2.0 (model card; training data and teacher have other terms)'

# Apple's repository has a licence of the kind of its sample code, the card of the same file another
# one, for research only: the narrower is what a user can rely on.
_APPLE = 'research only (model card: apple-amlr; repository: Apple sample code licence)'


def _row(
    variant: str, kind: Kind, licence: str, paper: str, repo: str, file: str, sha256: str = ''
) -> Preset:
    sizes = {'any_vits': 137, 'any_vitb': 540, 'vits': 99, 'vitb': 390, 'vitl': 1340}
    megabytes = next(mb for end, mb in sizes.items() if variant.endswith(end))
    return Preset(
        'depth_anything', variant, kind, licence, paper, repo, file, sha256, megabytes=megabytes
    )


_MONODEPTH2 = 'https://storage.googleapis.com/niantic-lon-static/research/monodepth2/'
# The network and its parts have three publishers, who disagree.
_GLP = "non-commercial (authors); encoder under NVIDIA's Source Code License; hub card: Apache-2.0"


def _monodepth2(variant: str, md5: str = '') -> Preset:
    return Preset(
        'monodepth2',
        variant,
        Kind.SCALE_INVARIANT if variant.startswith('mono_') else Kind.METRIC,
        'Niantic, non-commercial',
        'https://arxiv.org/abs/1806.01260',
        file='encoder.pth',
        url=f'{_MONODEPTH2}{quote(variant)}.zip',
        md5=md5,
        megabytes=0 if 'resnet50' in variant else 99,
    )


def _dust3r(variant: str) -> Preset:
    return Preset(
        'dust3r',
        variant,
        Kind.SCALE_INVARIANT,
        'CC-BY-NC-SA-4.0, and the terms of its training sets (MapFree and others)',
        'https://arxiv.org/abs/2312.14132',
        f'naver/DUSt3R_ViTLarge_BaseDecoder_{variant}',
        'model.safetensors',
        megabytes=2280 if variant.endswith('dpt') else 2130,
        estimates_camera=True,
        takes_pairs=True,
    )


_NANO = (
    '2.6 M parameters that have seen a synthetic world only, to try things out with; for a robot and a '
    'GPU take model:=depth_anything_v3_metric_large (Apache-2.0, 1.3 GB downloaded at first use)'
)

#: name -> preset
PRESETS: dict[str, Preset] = {
    'depth_anything_v1_small': _row('v1_vits', Kind.AFFINE_INVERSE, 'Apache-2.0', _DA1, 'LiheYoung/depth_anything_vits14', 'pytorch_model.bin'),
    'depth_anything_v1_base': _row('v1_vitb', Kind.AFFINE_INVERSE, 'Apache-2.0', _DA1, 'LiheYoung/depth_anything_vitb14', 'pytorch_model.bin'),
    'depth_anything_v1_large': _row('v1_vitl', Kind.AFFINE_INVERSE, 'Apache-2.0', _DA1, 'LiheYoung/depth_anything_vitl14', 'pytorch_model.bin'),
    'depth_anything_v1_metric_indoor_large': _row('v1_metric10_vitl', Kind.METRIC, 'Apache-2.0', _DA1, _SPACE, 'depth_anything_metric_depth_indoor.pt'),
    'depth_anything_v1_metric_outdoor_large': _row('v1_metric80_vitl', Kind.METRIC, 'Apache-2.0', _DA1, _SPACE, 'depth_anything_metric_depth_outdoor.pt'),
    'depth_anything_v2_small': _row('v2_vits', Kind.AFFINE_INVERSE, 'Apache-2.0', _DA2, 'depth-anything/Depth-Anything-V2-Small', 'depth_anything_v2_vits.pth', '715fade13be8f229f8a70cc02066f656f2423a59effd0579197bbf57860e1378'),
    'depth_anything_v2_base': _row('v2_vitb', Kind.AFFINE_INVERSE, _NC, _DA2, 'depth-anything/Depth-Anything-V2-Base', 'depth_anything_v2_vitb.pth'),
    'depth_anything_v2_large': _row('v2_vitl', Kind.AFFINE_INVERSE, _NC, _DA2, 'depth-anything/Depth-Anything-V2-Large', 'depth_anything_v2_vitl.pth'),
    'depth_anything_v2_metric_indoor_small': _row('v2_metric20_vits', Kind.METRIC, _CARD, _DA2, _HYPERSIM + 'Small', 'depth_anything_v2_metric_hypersim_vits.pth'),
    'depth_anything_v2_metric_indoor_base': _row('v2_metric20_vitb', Kind.METRIC, _CARD, _DA2, _HYPERSIM + 'Base', 'depth_anything_v2_metric_hypersim_vitb.pth'),
    'depth_anything_v2_metric_indoor_large': _row('v2_metric20_vitl', Kind.METRIC, _CARD, _DA2, _HYPERSIM + 'Large', 'depth_anything_v2_metric_hypersim_vitl.pth'),
    'depth_anything_v2_metric_outdoor_small': _row('v2_metric80_vits', Kind.METRIC, _CARD, _DA2, _VKITTI + 'Small', 'depth_anything_v2_metric_vkitti_vits.pth'),
    'depth_anything_v2_metric_outdoor_base': _row('v2_metric80_vitb', Kind.METRIC, _CARD, _DA2, _VKITTI + 'Base', 'depth_anything_v2_metric_vkitti_vitb.pth'),
    'depth_anything_v2_metric_outdoor_large': _row('v2_metric80_vitl', Kind.METRIC, _CARD, _DA2, _VKITTI + 'Large', 'depth_anything_v2_metric_vkitti_vitl.pth'),
    'depth_anything_v3_metric_large': _row('v3_metric_vitl', Kind.CANONICAL, 'Apache-2.0', _DA3, 'depth-anything/DA3METRIC-LARGE', 'model.safetensors'),
    'depth_anything_v3_mono_large': _row('v3_mono_vitl', Kind.SCALE_INVARIANT, 'Apache-2.0', _DA3, 'depth-anything/DA3MONO-LARGE', 'model.safetensors'),
    'monodepth2_mono_640x192': _monodepth2('mono_640x192', 'a964b8356e08a02d009609d9e3928f7c'),
    'monodepth2_stereo_640x192': _monodepth2('stereo_640x192', '3dfb76bcff0786e4ec07ac00f658dd07'),
    'monodepth2_mono_stereo_640x192': _monodepth2('mono+stereo_640x192', 'c024d69012485ed05d7eaa9617a96b81'),
    'monodepth2_mono_1024x320': _monodepth2('mono_1024x320', '0ab0766efdfeea89a0d9ea8ba90e1e63'),
    'monodepth2_stereo_1024x320': _monodepth2('stereo_1024x320', 'afc2f2126d70cf3fdf26b550898b501a'),
    'monodepth2_mono_stereo_1024x320': _monodepth2('mono+stereo_1024x320', 'cdc5fc9b23513c07d5b19235d9ef08f7'),
    'monodepth2_mono_no_pt_640x192': _monodepth2('mono_no_pt_640x192', '9c2f071e35027c895a4728358ffc913a'),
    'monodepth2_stereo_no_pt_640x192': _monodepth2('stereo_no_pt_640x192', '41ec2de112905f85541ac33a854742d1'),
    'monodepth2_mono_stereo_no_pt_640x192': _monodepth2('mono+stereo_no_pt_640x192', '46c3b824f541d143a45c37df65fbab0a'),
    'monodepth2_mono_resnet50_640x192': _monodepth2('mono_resnet50_640x192'),
    'glpdepth_nyu': Preset('glpdepth', 'nyu', Kind.METRIC, _GLP, 'https://arxiv.org/abs/2201.07436', 'vinvino02/glpn-nyu', 'model.safetensors', megabytes=245),
    'glpdepth_kitti': Preset('glpdepth', 'kitti', Kind.METRIC, _GLP, 'https://arxiv.org/abs/2201.07436', 'vinvino02/glpn-kitti', 'pytorch_model.bin', megabytes=245),
    'depth_anything_v3_small': _row('v3_any_vits', Kind.SCALE_INVARIANT, 'Apache-2.0', _DA3, 'depth-anything/DA3-SMALL', 'model.safetensors'),
    'depth_anything_v3_base': _row('v3_any_vitb', Kind.SCALE_INVARIANT, 'Apache-2.0', _DA3, 'depth-anything/DA3-BASE', 'model.safetensors'),
    'depth_pro': Preset('depth_pro', 'depth_pro', Kind.CANONICAL, _APPLE, 'https://arxiv.org/abs/2410.02073', 'apple/DepthPro', 'depth_pro.pt', megabytes=1900, estimates_camera=True),
    'dust3r_224_linear': _dust3r('224_linear'),
    'dust3r_512_linear': _dust3r('512_linear'),
    'dust3r_512_dpt': _dust3r('512_dpt'),
    'onnx': Preset('onnx', 'described', None, 'that of your network', '', casts=False),
    'fastdepth_nyu': Preset('onnx', 'described', None, 'MIT', 'https://arxiv.org/abs/1903.03273', casts=False),
    'nano': Preset('nano', 'nano', Kind.CANONICAL, 'Apache-2.0', '', megabytes=6, packaged='nano.safetensors', advice=_NANO),
    'flat_wall': Preset('flat', 'wall', Kind.METRIC, 'Apache-2.0', '', needs_weights=False, casts=False),
    'flat_ground': Preset('flat', 'ground', Kind.METRIC, 'Apache-2.0', '', needs_weights=False, casts=False),
}  # fmt: skip


def get(name: str, table: Mapping[str, Preset] | None = None) -> Preset:
    """The preset called `name`.

    Raises:
        ConfigError: there is none; the message lists what there is, the nearest first.
    """
    table = PRESETS if table is None else table
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1)
    hint = f'did you mean {near[0]!r}? ' if near else ''
    raise ConfigError(f'model {name!r} is not a preset; {hint}presets: {", ".join(table)}')


def name_of(preset: Preset) -> str:
    """The table's name for `preset`; its variant where it is no row of the table."""
    return next((name for name, other in PRESETS.items() if other == preset), preset.variant)


def presets_where(fits: Callable[[Preset], bool]) -> str:
    """Names of the rows that fit, for a message: 'a or b', '' for none."""
    return ' or '.join(name for name, preset in PRESETS.items() if fits(preset))


def load(name: str, options: ModelOptions) -> DepthModel:
    """Build the preset's network with its weights; the family's module is imported here, not before.

    Raises:
        ConfigError: unknown preset, or options the family cannot use.
        WeightsError: the checkpoint does not fit.
    """
    preset = get(name)
    model: DepthModel = import_module(f'depth_ros.models.{preset.family}').load(preset, options)
    return model


def load_network(
    build: Callable[[], Network],
    load_checkpoint: Callable[[Network, Preset, Path], None],
    preset: Preset,
    options: ModelOptions,
) -> Network:
    """What `build` makes, filled by `load_checkpoint` and ready to infer; for a family's `load`.

    Raises:
        ConfigError: no weights.
        WeightsError: the file is broken, or another network's or variant's.
    """
    if options.weights is None:
        source = f'{preset.file} of {preset.repo}' if preset.repo else f'those of {preset.url}'
        raise ConfigError(f'{preset.variant} needs weights; set weights to {source}')
    with torch.device('meta'):  # the file fills it: no time and memory for random weights
        network = build()
    load_checkpoint(network, preset, options.weights)
    network = network.to(options.device, options.dtype).eval().requires_grad_(False)
    if linear.pays(options.device, options.dtype):
        linear.packed(network)
    # convolutions are faster with the channels innermost, on CPUs and in half precision on GPUs
    return network.to(memory_format=torch.channels_last)
