# SPDX-License-Identifier: Apache-2.0
"""The networks: a table of presets, and a folder for each family.

A family is a folder with three doors: `__init__.py` (load, preprocessing, meaning of the output;
mostly a `batched_model.BatchedModel`), `network.py` (the layers) and `checkpoint.py` (published
names -> ours). To add one: its folder, its rows in `presets.py` and, where its defaults differ, a
YAML in config/models. The contract test walks the table.
"""

from depth_ros.models.interface import (
    DepthModel,
    EstimatesCamera,
    ModelOptions,
    Preset,
    TakesBatches,
    TakesPairs,
)
from depth_ros.models.loading import load
from depth_ros.models.presets import PRESETS, get, presets_where

__all__ = [
    'PRESETS',
    'DepthModel',
    'EstimatesCamera',
    'ModelOptions',
    'Preset',
    'TakesBatches',
    'TakesPairs',
    'get',
    'load',
    'presets_where',
]
