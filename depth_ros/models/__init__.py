# SPDX-License-Identifier: Apache-2.0
"""The networks: a table of presets, and a folder for each family.

The folder of a family has three files: `__init__.py` (load, preprocessing and postprocessing;
usually a subclass of `batched_model.BatchedModel`), `network.py` (the layers) and `checkpoint.py`
(translation of published tensor names). To add a family, add its folder, its rows in `presets.py`
and, where its defaults differ, a YAML in config/models. The contract test covers every preset.
"""

from depth_ros.models.interface import (
    DepthModel,
    EstimatesCamera,
    ModelOptions,
    Preset,
    TakesBatches,
    TakesViews,
)
from depth_ros.models.loading import check_libraries, load, source_of
from depth_ros.models.presets import PRESETS, get, networks_with, presets_where

__all__ = [
    'PRESETS',
    'DepthModel',
    'EstimatesCamera',
    'ModelOptions',
    'Preset',
    'TakesBatches',
    'TakesViews',
    'check_libraries',
    'get',
    'load',
    'networks_with',
    'presets_where',
    'source_of',
]
