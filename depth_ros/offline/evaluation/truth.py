# SPDX-License-Identifier: Apache-2.0
"""The inputs with measured depth that a command line names, and why others are none."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from depth_ros.core.errors import ConfigError, DepthRosError
from depth_ros.offline import bag
from depth_ros.offline.evaluation.bag_truth import BagTruth, TruthOptions
from depth_ros.offline.evaluation.layouts import LAYOUTS
from depth_ros.offline.evaluation.measured import Pictures
from depth_ros.offline.inputs import PICTURES, VIDEOS

Source = Pictures | BagTruth
#: layouts for messages
KNOWN = (
    'a bag with depth or points; folders with rgb.png, depth.png and intrinsics.json, or of '
    'KITTI, NYU or TUM RGB-D (docs/evaluation.md)'
)


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A folder with images and without a layout; others may have their depth, as in KITTI."""

    path: Path


def find(
    words: Sequence[str], topic: str = '', options: TruthOptions | None = None
) -> tuple[list[Source], list[str]]:
    """Inputs with measured depth: bags and folders; in a folder, all those below it.

    Args:
        words: of the command line: paths and patterns.
        topic: of the images of bags; '' for the only one.
        options: how depth is found in bags.

    Returns:
        The inputs, and for each that cannot be used a line with the reason.

    Raises:
        ConfigError: a word names nothing.
    """
    options = options or TruthOptions()
    sources: list[Source] = []
    skipped: list[str] = []
    unmeasured: list[Path] = []
    for word in words:
        paths = [Path(word)]
        if not paths[0].exists():
            paths = [Path(p) for p in sorted(glob.glob(word, recursive=True))]
            if not paths:
                raise ConfigError(f'{word} does not exist, and matches no file')
        for path in paths:
            found = [*_below(path, name_of(path.resolve()), topic, options)]
            if not found:
                skipped.append(f'{path}: nothing with measured depth; what has: {KNOWN}')
            sources += [one for one in found if isinstance(one, (Pictures, BagTruth))]
            skipped += [one for one in found if isinstance(one, str)]
            unmeasured += [one.path for one in found if isinstance(one, Unmeasured)]
    used = {
        pair.image.parent for one in sources if isinstance(one, Pictures) for pair in one.pairs
    }
    skipped += [
        f'{path}: no measured depth beside its images; what has: {KNOWN}'
        for path in unmeasured
        if path not in used
    ]
    return _with_names(sources), skipped


def _with_names(sources: list[Source]) -> list[Source]:
    """The inputs, each once.

    Raises:
        ConfigError: two of them have the same name.
    """
    seen: dict[str, Source] = {}
    for one in sources:
        other = seen.setdefault(one.name, one)
        if other.path.resolve() != one.path.resolve():
            raise ConfigError(
                f'{other.path} and {one.path} would both be called {one.name}: give the folder '
                'above both'
            )
    return list(seen.values())


def _below(
    path: Path, name: str, topic: str, options: TruthOptions
) -> Iterator[Source | Unmeasured | str]:
    """Inputs in a path, or why it is none."""
    try:
        if is_bag(path):
            yield BagTruth.open(path, name, topic, options)
            return
        if path.is_file():
            yield f'{path}: a single file has no measured depth; what has: {KNOWN}'
            return
        for layout in LAYOUTS:
            if (found := layout(path, name)) is not None:
                yield found
                return
        inside = sorted(path.iterdir())
    except (DepthRosError, OSError) as error:
        text = str(error)
        yield text if text.startswith(str(path)) else f'{path}: {text}'
        return
    for one in inside:
        if one.name.startswith('.') or (
            one.is_symlink() and path.resolve().is_relative_to(one.resolve())
        ):
            continue  # hidden, or a folder above
        if one.is_dir() or is_bag(one):
            yield from _below(one, f'{name}/{name_of(one)}', topic, options)
    if any(p.suffix.lower() in PICTURES | VIDEOS and p.is_file() for p in inside):
        yield Unmeasured(path)


def name_of(path: Path) -> str:
    """Name of an input in reports: of a file without its ending."""
    return path.stem if path.is_file() else path.name


def is_bag(path: Path) -> bool:
    """Whether a path is a bag: its folder, or a single file."""
    return (path.is_dir() and (path / 'metadata.yaml').is_file()) or (
        path.is_file() and path.suffix.lower() in bag.ENDINGS
    )
