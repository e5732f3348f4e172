# SPDX-License-Identifier: Apache-2.0
"""Dataclasses as JSON, and back with every type checked: files of others are not trusted."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any

MOST_TEXT = 1000  #: characters of a field


def known(value: Any) -> Any:
    """Values for JSON, in which numbers that are not known are null."""
    if isinstance(value, dict):
        return {key: known(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [known(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def built(cls: Any, values: Any, name: str) -> Any:
    """A dataclass from a dictionary; fields that it does not have are left out.

    Args:
        cls: its fields are str, bool, int, float, dataclasses of these, tuples of one type, or
            one of them or None.
        values: of JSON.
        name: in messages.

    Raises:
        TypeError: a value is of another type.
        KeyError: one is missing.
        ValueError: the dataclass refuses it.
    """
    if not isinstance(values, dict):
        raise TypeError(f'{name} is no object')
    hints = typing.get_type_hints(cls)
    given = {
        field.name: _value(hints[field.name], values[field.name], f'{name}.{field.name}')
        for field in dataclasses.fields(cls)
        if field.name in values or field.default is dataclasses.MISSING
    }
    return cls(**given)


def _value(hint: Any, value: Any, name: str) -> Any:
    if typing.get_origin(hint) is types.UnionType:  # of a number and None
        return None if value is None else _value(typing.get_args(hint)[0], value, name)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise TypeError(f'{name} is no list')
        one = typing.get_args(hint)[0]
        return tuple(_value(one, v, f'{name}[{k}]') for k, v in enumerate(value))
    if dataclasses.is_dataclass(hint):
        return built(hint, value, name)
    if hint is float and value is None:
        return math.nan
    kinds = (int, float) if hint is float else hint
    if not isinstance(value, kinds) or isinstance(value, bool) is not (hint is bool):
        raise TypeError(f'{name} is {str(value)[:40]!r}')
    if isinstance(value, str):  # for logs and terminals
        return ''.join(c if c.isprintable() else '?' for c in value[:MOST_TEXT])
    return hint(value)
