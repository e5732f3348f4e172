# SPDX-License-Identifier: Apache-2.0
"""What is written about parameters and presets is what the code says."""

from pathlib import Path

import pytest
import yaml

from depth_ros.parameters.layers import _flat, parameters
from tools.docs import (
    BEGIN,
    END,
    MEASURED,
    markdown_table,
    measured_tables,
    models_page,
    replaced,
    with_table,
    yaml_text,
)

ROOT = Path(__file__).resolve().parents[1]
HINT = 'run `make docs`'


def test_depth_yaml_is_up_to_date():
    assert (ROOT / 'config/depth.yaml').read_text() == yaml_text(), HINT


def test_readme_table_is_up_to_date():
    readme = (ROOT / 'README.md').read_text()
    assert with_table(readme) == readme, HINT


def test_readme_says_what_was_measured():
    readme = (ROOT / 'README.md').read_text()
    assert replaced(readme, MEASURED, measured_tables(ROOT / 'benchmarks/results')) == readme, HINT


def test_models_page_is_up_to_date():
    assert (ROOT / 'docs/networks.md').read_text() == models_page(), HINT


def test_depth_yaml_says_the_defaults():
    tree = yaml.safe_load(yaml_text())['/**']['ros__parameters']
    assert dict(_flat(tree)) == {p.name: p.default for p in parameters()}


def test_every_parameter_has_a_row_and_a_description():
    table = markdown_table()
    for p in parameters():
        assert f'| `{p.name}` |' in table
        assert p.description.strip(), p.name


def test_table_replaces_only_what_stands_between_the_markers():
    old = f'before\n{BEGIN}\nold\n{END}\nafter\n'
    assert with_table(old) == f'before\n{BEGIN}\n{markdown_table()}{END}\nafter\n'


def test_readme_without_markers_is_refused():
    with pytest.raises(ValueError, match='parameters:begin'):
        with_table('no markers')
