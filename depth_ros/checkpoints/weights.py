# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what is in them and whether they fit; their code is never run."""

from __future__ import annotations

import argparse
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from depth_ros.core.errors import WeightsError

#: What a checkpoint may hold beside tensors.
Value = bool | int | float | str | None

#: Patterns of published names -> ours; of several that match, the first is taken.
Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

#: Classes that may lie beside the tensors and hold names and values only: DUSt3R keeps its command
#: line. Their content is never looked at.
_INERT = [argparse.Namespace]

#: Types of numbers a published network is made of; fewer bits need a scale we know nothing of.
_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)

# family -> prefixes that all occur among the names of its checkpoint; the first match wins
_DA3 = 'model.backbone.pretrained.'
_FAMILIES: dict[str, tuple[str, ...]] = {
    'Depth Anything 3 (any-view)': (_DA3 + 'camera_token', 'model.head.scratch.'),
    'Depth Anything 3 (metric or mono)': (_DA3, 'model.head.scratch.sky_output_conv2.'),
    'Depth Anything v1 metric (ZoeDepth)': ('core.core.pretrained.', 'conditional_log_binomial.'),
    'Depth Anything v1 or v2': ('pretrained.blocks.', 'depth_head.scratch.'),
    'Depth Anything v1 or v2 (transformers)': ('backbone.embeddings.', 'neck.reassemble_stage.'),
    'Depth Pro': ('encoder.patch_encoder.', 'encoder.image_encoder.'),
    'Depth Pro (transformers)': ('depth_pro.',),
    'DUSt3R': ('enc_blocks.', 'downstream_head1.'),
    'Monodepth2 encoder': ('encoder.conv1.', 'encoder.layer1.', 'encoder.bn1.'),
    'Monodepth2 decoder': ('decoder.0.conv.conv.',),
    'GLPDepth': ('encoder.patch_embed1.', 'last_layer_depth.'),
    'GLPDepth (transformers)': ('glpn.',),
    'nano': ('context.whole.', 'ups.0.'),
}


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, on the CPU, mapped from the file where its format allows.

    `{'model': ...}` and `{'state_dict': ...}` are opened, a leading `module.` is dropped from the
    names, and `model.` where all have it and we know none with it; plain numbers, strings and None
    among the tensors are left out.

    Args:
        path: safetensors, or what torch.save writes; told apart by content, not by suffix.

    Returns:
        Name -> tensor.

    Raises:
        WeightsError: the file is missing, broken, no checkpoint, or needs code to run.
    """
    return read_with_values(path)[0]


def read_with_values(path: Path) -> tuple[dict[str, Tensor], dict[str, Value]]:
    """As `read`, and what that leaves out: name -> plain number, string or None."""
    path = Path(path)
    again = 'download it again'
    if path.is_dir():
        raise WeightsError(f'weights: {path.absolute()} is a folder; set weights to one file')
    if not path.is_file():
        raise WeightsError(f'weights: {path.absolute()} does not exist')
    try:
        with path.open('rb') as file:
            head = file.read(64)
    except OSError as error:
        raise WeightsError(
            f'{path} cannot be read ({error.strerror}); make it readable, or {again}'
        ) from error
    if not head:
        raise WeightsError(f'{path} is empty; {again}')
    if head.startswith(b'version https://git-lfs'):
        raise WeightsError(
            f'{path} is a git-lfs pointer, not the file; run git lfs pull, or {again}'
        )
    # the length that safetensors begin with may look like text, but for its zeros
    if b'\0' not in head and head.lstrip().startswith((b'<', b'{')):
        raise WeightsError(
            f'{path} is a web page or text, not a checkpoint; {again} from its direct link'
        )
    is_safetensors = head[8:9] == b'{'
    if not is_safetensors and not head.startswith((b'PK', b'\x80')):
        raise WeightsError(
            f'{path} is neither safetensors nor a PyTorch file; set weights to one that is'
        )
    try:
        if is_safetensors:
            content = load_file(path)
        else:
            # legacy files (before torch 1.6) are no zip archives and cannot be mapped; given a
            # path, not a file, torch 2.15 goes by the suffix
            mapped = zipfile.is_zipfile(path) and path.suffix != '.safetensors'
            with _inert_allowed(), path.open('rb') as file:
                content = torch.load(
                    path if mapped else file, map_location='cpu', weights_only=True, mmap=mapped
                )
    except pickle.UnpicklingError as error:
        culprit = re.search(r'GLOBAL ([\w.]+)', str(error))
        what = f' ({culprit[1]})' if culprit else ''
        raise WeightsError(
            f'{path} is a pickle of more than tensors{what}; reading it would run its code, '
            'which is refused. Convert it to safetensors where you trust it'
        ) from error
    except Exception as error:  # torch raises what a broken byte leads to: KeyError, struct.error
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f'{path} is truncated or broken ({reason}); {again}') from error
    return _sorted(content, path)


def _inert_allowed() -> AbstractContextManager[None]:
    # new in torch 2.5; an older one refuses such files and says which class it is
    allow = getattr(torch.serialization, 'safe_globals', None)
    allowed: AbstractContextManager[None] = allow(_INERT) if allow else nullcontext()
    return allowed


def _sorted(content: object, path: Path) -> tuple[dict[str, Tensor], dict[str, Value]]:
    remedy = 'set weights to a file of the network alone'
    for wrapper in ('model', 'state_dict'):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise WeightsError(f'{path} holds a {type(content).__name__}, not named tensors; {remedy}')
    tensors: dict[str, Tensor] = {}
    values: dict[str, Value] = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            if odd := _oddity(value):
                raise WeightsError(
                    f'{path}: {name!r} is a {odd} tensor; {remedy}, in plain numbers'
                )
            tensors[str(name).removeprefix('module.')] = value
        elif isinstance(value, (bool, int, float, str, type(None))):
            values[str(name)] = value
        else:
            raise WeightsError(
                f'{path}: {name!r} is a {type(value).__name__}, not a tensor; {remedy}'
            )
    if not tensors:
        raise WeightsError(f'{path} holds no tensors; {remedy}')
    if guess_family(tensors) is None and all(name.startswith('model.') for name in tensors):
        inner = {name.removeprefix('model.'): value for name, value in tensors.items()}
        tensors = tensors if guess_family(inner) is None else inner
    return tensors, values


def _oddity(value: Tensor) -> str:
    """What no layer can take as its weights, in a word; '' for plain numbers."""
    if value.is_meta:
        return 'meta'
    if value.is_nested:
        return 'nested'
    if value.layout is not torch.strided:
        return str(value.layout).removeprefix('torch.')
    return '' if value.dtype in _DTYPES else str(value.dtype).removeprefix('torch.')


def config_beside(path: Path) -> dict[str, Any]:
    """The config.json in a checkpoint's folder; empty if there is none that can be read."""
    try:
        config = json.loads((path.parent / 'config.json').read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def rename(state: dict[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Published names -> ours; a name no rule matches stays."""
    ours: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, to in rules:
            name, hit = re.subn(pattern, to, name)
            if hit:
                break
        ours[name] = value
    return ours


def from_zero(pattern: str, count: int = 1) -> Callable[[re.Match[str]], str]:
    """A rule's right side where publishers count from one.

    Args:
        pattern: with a field for each group.
        count: how many groups, from the first, are such numbers; the others stay.
    """

    def ours(match: re.Match[str]) -> str:
        numbers = [int(group) - 1 for group in match.groups()[:count]]
        return pattern.format(*numbers, *match.groups()[count:])

    return ours


def join(state: dict[str, Tensor], parts: Sequence[str], whole: str) -> None:
    """Put tensors of one shape together, along their first side; others stay for `load_strict`."""
    shapes = {state[part].shape if part in state else None for part in parts}
    if len(shapes) == 1 and shapes.pop():
        state[whole] = torch.cat([state.pop(part) for part in parts])


def load_strict(
    module: nn.Module, state: dict[str, Tensor], *, path: Path, ignore: Iterable[str] = ()
) -> None:
    """Give `module` the tensors of `state`: all of them, of the right shape and finite.

    Args:
        module: may be on the meta device; it takes the tensors themselves, not copies.
        state: the module's names -> tensors.
        path: the file, for messages.
        ignore: regular expressions of whole names that may be left over.

    Raises:
        WeightsError: a tensor is missing, left over, of another shape or type, or not finite.
    """
    leftover = re.compile('|'.join(f'(?:{p})' for p in ignore) or '(?!)')
    want = module.state_dict()
    have = {k: v for k, v in state.items() if k in want or not leftover.fullmatch(k)}
    # steps of training, which nothing asks to infer: some files leave them out, or halve them
    counts = {k: v for k, v in want.items() if k.endswith('.num_batches_tracked')}
    have |= {k: torch.zeros_like(v, device='cpu') for k, v in counts.items()}
    shapes = [
        f'{k} {tuple(have[k].shape)} instead of {tuple(want[k].shape)}'
        for k in want
        if k in have and have[k].shape != want[k].shape
    ]
    kinds = [
        f'{k} {have[k].dtype} instead of {want[k].dtype}'
        for k in want
        if k in have and have[k].is_floating_point() != want[k].is_floating_point()
    ]
    faults = {
        'missing': [k for k in want if k not in have],
        'unexpected': [k for k in have if k not in want],
        'of another shape': shapes,
        'of another type': kinds,
    }
    if any(faults.values()):
        said = '; '.join(f'{len(v)} {k}: {_few(v)}' for k, v in faults.items() if v)
        raise WeightsError(
            f'{path}: download it again, or set model to the preset it is for; it does not fit '
            f'the network. {said}'
        )
    broken = [k for k, v in have.items() if v.is_floating_point() and not _finite(v)]
    if broken:
        raise WeightsError(
            f'{path}: {len(broken)} tensors are not finite: {_few(broken)}; the file is damaged, '
            'download it again'
        )
    module.load_state_dict(have, strict=True, assign=True)
    left = [k for k, v in (*module.named_parameters(), *module.named_buffers()) if v.is_meta]
    assert not left, f'buffers outside the state: {left}'


def _finite(values: Tensor) -> bool:
    if not values.numel():
        return True
    low, high = values.aminmax()  # both NaN if one value is; a pass without a copy
    return bool(low.isfinite() and high.isfinite())


def _few(names: list[str], most: int = 3) -> str:
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')


def guess_family(names: Iterable[str]) -> str | None:
    """Whose checkpoint has such names, in words for a message; None if none we know."""
    names = tuple(names)
    for family, prefixes in _FAMILIES.items():
        if all(any(n.startswith(p) for n in names) for p in prefixes):
            return family
    return None


def describe(names: Iterable[str]) -> str:
    """Whose checkpoint has such names, as the middle of a sentence about the file."""
    names = tuple(names)
    family = guess_family(names)
    return f'looks like a {family} checkpoint' if family else f'has names such as {names[0]!r}'
