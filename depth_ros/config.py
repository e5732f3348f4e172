# SPDX-License-Identifier: Apache-2.0
"""Settings as flat ROS names and values, and the layers they come from."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from depth_ros.errors import ConfigError
from depth_ros.settings import Settings


@dataclass(frozen=True, slots=True)
class Parameter:
    """One leaf of `Settings`, under its ROS name."""

    name: str
    default: Any
    description: str
    live: bool
    low: float | None
    high: float | None
    choices: tuple[str, ...]

    def check(self, value: Any) -> None:
        """Refuse a value outside the parameter's range.

        Raises:
            ConfigError: the value is out of range, or none of the choices.
        """
        if self.choices and value not in self.choices:
            raise ConfigError(f'{self.name} is {value!r}; choose one of {", ".join(self.choices)}')
        if isinstance(value, float) and value != value:
            raise ConfigError(f'{self.name} is NaN')
        if self.low is not None and value < self.low:
            raise ConfigError(f'{self.name} is {value:g}; the least is {self.low:g}')
        if self.high is not None and value > self.high:
            raise ConfigError(f'{self.name} is {value:g}; the most is {self.high:g}')


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
    known = {p.name: p for p in parameters()}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f'{name} is not a parameter; known: {", ".join(known)}')
        known[name].check(value)
    return _replaced(settings, values, '')


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
    package = Path(__file__).resolve().parent
    # the source tree, else share/ under whichever parent is the prefix (pip, colcon, Debian)
    prefixes = (*package.parents, Path(sys.prefix))
    for place in (package.parent, *(prefix / 'share' / 'depth_ros' for prefix in prefixes)):
        if (place / 'config' / 'depth.yaml').is_file():
            return place
    raise ConfigError(
        f'config/depth.yaml is neither beside {package} nor in share/depth_ros; install again'
    )


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
