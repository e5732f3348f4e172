# SPDX-License-Identifier: Apache-2.0
"""Settings as flat ROS names and values, and the layers they come from."""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from depth_ros.core.errors import ConfigError
from depth_ros.parameters.settings import Settings
from depth_ros.parameters.spelling import misspelt


@dataclass(frozen=True, slots=True)
class Parameter:
    """One leaf of `Settings`, under its ROS name."""

    name: str
    default: Any
    description: str
    when: str
    live: bool
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    needs: str
    only_with: tuple[str, ...]
    or_with: tuple[str, ...]

    def checked(self, value: Any) -> Any:
        """`value` in the parameter's type. int is accepted for float; there is no other coercion.

        Raises:
            ConfigError: another type, out of range, or none of the choices.
        """
        if isinstance(self.default, float) and type(value) is int:
            value = float(value)
        if isinstance(self.default, list) and isinstance(value, list):
            kind = type(self.default[0])
            value = [kind(v) if type(v) in (int, kind) else v for v in value]
            if not all(type(v) is kind and v == v for v in value):
                raise ConfigError(f'{self.name} is {value}; it is a list of {kind.__name__}')
        if type(value) is not type(self.default):
            raise ConfigError(
                f'{self.name} is {value!r}, {type(value).__name__}; '
                f'it is of type {type(self.default).__name__}'
            )
        items = value if isinstance(value, list) else [value]
        if self.choices and not set(items) <= set(self.choices):
            what = 'choose from' if isinstance(value, list) else 'choose one of'
            known = ', '.join(filter(None, self.choices))
            raise ConfigError(f'{self.name} is {value!r}; {what} {known}')
        if isinstance(value, float) and value != value:
            raise ConfigError(f'{self.name} is NaN')
        if self.low is not None and value < self.low:
            raise ConfigError(f'{self.name} is {value:g}; the minimum is {self.low:g}')
        if self.high is not None and value > self.high:
            raise ConfigError(f'{self.name} is {value:g}; the maximum is {self.high:g}')
        return value


@cache
def _known() -> dict[str, Parameter]:
    """The parameters by name; walked once, because every value set is looked up here."""
    return {p.name: p for p in parameters()}


#: poses in one camera
ANCHOR_POSES = (
    *(f'anchors.{source}.pose' for source in ('points', 'scan', 'range', 'depth')),
    'anchors.odometry.camera_pose',
)
#: similarity (difflib) from which another name is offered
NEAR = 0.8


def of_other_nodes(names: Iterable[str]) -> dict[str, str]:
    """Those of `names` that are not ours, nor misspelt -> a similar one of ours, or empty."""
    known = _known()
    others = (n for n in names if n not in known and not misspelt(n, known))
    return {n: ''.join(difflib.get_close_matches(n, known, n=1, cutoff=NEAR)) for n in others}


def checked(name: str, value: Any) -> Any:
    """`value` in the type of the parameter `name`.

    Raises:
        ConfigError: there is no such parameter, or it cannot have that value.
    """
    known = _known()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f'did you mean {near[0]}?' if near else f'known: {", ".join(known)}'
        raise ConfigError(f'{name} is not a parameter of depth_node; {hint}')
    return known[name].checked(value)


def parameters(settings: Any = None, prefix: str = '') -> Iterator[Parameter]:
    """Every leaf of `settings` (default: all defaults), in order of declaration."""
    settings = Settings() if settings is None else settings
    for leaf in dataclasses.fields(settings):
        value = getattr(settings, leaf.name)
        name = f'{prefix}{leaf.name}'
        if dataclasses.is_dataclass(value):
            yield from parameters(value, f'{name}.')
        else:
            yield Parameter(name=name, default=value, **leaf.metadata)


def with_values(settings: Any, values: Mapping[str, Any]) -> Any:
    """A copy of `settings` with the parameters `values` names; a check of each included.

    Raises:
        ConfigError: a name is no parameter, or a value is out of range.
    """
    values = {name: checked(name, value) for name, value in values.items()}
    settings = _replaced(settings, values, '')
    for low, high in (
        ('range.min', 'range.max'),
        ('colorized.min', 'colorized.max'),
        ('two_views.min_parallax', 'two_views.max_parallax'),
    ):
        least, most = attrgetter(low)(settings), attrgetter(high)(settings)
        if most and least >= most:
            raise ConfigError(f'{low} is {least:g} and {high} is {most:g}; {high} must be greater')
    check_cameras(settings)
    return settings


def check_cameras(settings: Any) -> None:
    """Refuse names of cameras that cannot be, and what only one camera can have.

    Raises:
        ConfigError: with the name and the remedy.
    """
    names = settings.cameras
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"cameras is {names}; it names each camera once, [''] for a single one")
    for name in names:
        if not re.fullmatch('([A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*)?', name):
            raise ConfigError(
                f'cameras has {name!r}, which no topic can begin with; take letters, digits and _'
            )
        if any(name == f'{other}/depth'.lstrip('/') for other in names):
            raise ConfigError(
                f'cameras has {name!r}, below which are the outputs of another of {names}; '
                'give it another name'
            )
    if len(names) > 1 and settings.frame_id:
        raise ConfigError(
            f'frame_id is {settings.frame_id!r} but there are {len(names)} cameras, which cannot '
            'all be in one frame: correct the frame_id in their drivers'
        )
    for name in (*ANCHOR_POSES, 'floor.height') if len(names) > 1 else ():
        value = attrgetter(name)(settings)
        if any(value) if isinstance(value, list) else value:
            raise ConfigError(
                f'{name} is {value} but there are {len(names)} cameras, of which it can describe '
                'only one: set it to 0, and publish their poses on TF'
            )
    if names != [''] and settings.two_views.mode != 'off':
        raise ConfigError(
            f'two_views.mode is {settings.two_views.mode!r}, which takes one camera without a '
            f"name, but cameras is {names}; run a node for each pair, with cameras ['']"
        )


def _replaced(settings: Any, values: Mapping[str, Any], prefix: str) -> Any:
    changes = {}
    for leaf in dataclasses.fields(settings):
        value = getattr(settings, leaf.name)
        name = f'{prefix}{leaf.name}'
        if dataclasses.is_dataclass(value):
            changes[leaf.name] = _replaced(value, values, f'{name}.')
        elif name in values:
            changes[leaf.name] = values[name]
    return dataclasses.replace(settings, **changes)


def share_directory() -> Path:
    """Where config/ and launch/ are: the source tree, or what was installed.

    Raises:
        ConfigError: the package was installed without its config folder.
    """
    package = Path(__file__).resolve().parents[1]
    # the source tree, else share/ under whichever parent is the prefix (pip, colcon, Debian)
    prefixes = (*package.parents, Path(sys.prefix))
    for place in (package.parent, *(prefix / 'share' / 'depth_ros' for prefix in prefixes)):
        if (place / 'config' / 'depth.yaml').is_file():
            return place
    raise ConfigError(
        f'config/depth.yaml is neither next to {package} nor in share/depth_ros; install again'
    )


def layered(given: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The value of every parameter: the user's, else the preset's, else the default.

    Args:
        given: the user's values.
        model: preset whose values count. The parameter `model` stays what the user gave.
    """
    defaults = {p.name: p.default for p in parameters()}
    preset = {name: value for name, value in preset_values(model).items() if name != 'model'}
    return {**defaults, **preset, **given}


def preset_values(model: str) -> dict[str, Any]:
    """What config/models/<model>.yaml sets, flat; empty for a preset without a file.

    Raises:
        ConfigError: the file names something that is not a parameter.
    """
    path = share_directory() / 'config' / 'models' / f'{model}.yaml'
    if not path.is_file():
        return {}
    values = dict(_flat(yaml.safe_load(path.read_text())['/**']['ros__parameters']))
    with_values(Settings(), values)
    return values


def _flat(tree: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value


def parse(rules: list[str]) -> dict[str, Any]:
    """Values from the command line, each `name:=value` in YAML as ROS takes it.

    Raises:
        ConfigError: a rule without `:=`.
    """
    values = {}
    for rule in rules:
        name, separator, text = rule.partition(':=')
        if not separator:
            raise ConfigError(f'{rule!r} is not name:=value')
        values[name] = yaml.safe_load(text)
    return values


def read_params_file(path: Path, node: str = 'depth_node') -> dict[str, Any]:
    """Values of a ROS params file for a node, by name; those of later sections count.

    Args:
        path: of the YAML file.
        node: sections for it are `/**`, `/*` or end in its name.

    Raises:
        ConfigError: it cannot be read, or has no parameters of the node.
    """
    try:
        tree = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f'{path} cannot be read: {error.strerror}') from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f'{path} is no params file: {" ".join(str(error).split())}') from error
    values: dict[str, Any] = {}
    sections = []
    for name, section in _sections(tree):
        sections.append(name)
        if name.rpartition('/')[2] in ('*', '**', node):
            values |= _flat(section)
    if not values:
        raise ConfigError(
            f'{path} has no parameters of {node}; it has '
            f'{", ".join(sections) or "no ros__parameters"}. A params file begins with the lines '
            '/**: and ros__parameters:'
        )
    return values


def _sections(tree: Any, prefix: str = '') -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Names of nodes, and what is below their `ros__parameters`."""
    for name, below in tree.items() if isinstance(tree, Mapping) else ():
        if name == 'ros__parameters' and isinstance(below, Mapping):
            yield prefix, below
        elif isinstance(below, Mapping):
            yield from _sections(below, f'{prefix}/{str(name).strip("/")}')
