# SPDX-License-Identifier: Apache-2.0
"""package.xml, setup.py and the tree agree."""

import ast
import re
import runpy
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import setuptools
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import depth_ros
from depth_ros.models import PRESETS
from depth_ros.parameters.layers import preset_values
from depth_ros.parameters.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ET.parse(ROOT / 'package.xml').getroot()
# import name -> rosdep key, where they differ
KEYS = {
    'PIL': 'python3-pil',
    'cv2': 'python3-opencv',
    'numpy': 'python3-numpy',
    'yaml': 'python3-yaml',
}
# installed with pip; see the comment in package.xml
FROM_PIP = {
    'huggingface_hub',
    'onnxruntime',
    'onnxscript',
    'openvino',
    'plotly',
    'ray',
    'rerun',
    'rosbags',
    'safetensors',
    'timm',
    'torch',
}
# imported where it is used, with an error that names the package; see the comment in package.xml
OPTIONAL = {'cv_bridge', 'nav_msgs', 'tf2_ros'}


@pytest.fixture
def described(monkeypatch):
    """What setup.py passes to setuptools."""
    calls = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, 'setup', lambda **keywords: calls.append(keywords))
    runpy.run_path('setup.py')
    return calls[0]


def files(folder, *patterns):
    return {str(p.relative_to(ROOT)) for g in patterns for p in (ROOT / folder).glob(g)}


def test_versions_agree(described):
    assert described['version'] == depth_ros.__version__ == PACKAGE.findtext('version')
    changelog = ROOT / 'CHANGELOG.rst'
    if changelog.is_file():
        newest = re.search(r'^(Forthcoming|\d+\.\d+\.\d+)', changelog.read_text(), re.MULTILINE)
        assert newest.group(1) in ('Forthcoming', depth_ros.__version__)


def test_names_and_licence_agree(described):
    assert described['name'] == PACKAGE.findtext('name') == 'depth_ros'
    assert described['license'] == PACKAGE.findtext('license') == 'Apache-2.0'


def pins(name):
    """Package -> version of a file in constraints/, for Python 3.10 and for later ones."""
    found = {'3.10': {}, '3.12': {}}
    for line in (ROOT / 'constraints' / name).read_text().splitlines():
        if line.startswith('-c '):
            for python, versions in pins(line.removeprefix('-c ')).items():
                found[python] |= versions
        elif line and not line.startswith('#'):
            pin = Requirement(line)
            (version,) = pin.specifier
            assert version.operator == '==', line
            for python, versions in found.items():
                if pin.marker is None or pin.marker.evaluate({'python_version': python}):
                    assert canonicalize_name(pin.name) not in versions, line
                    versions[canonicalize_name(pin.name)] = Version(version.version)
    return found


def requirements(described, *without):
    extras = [v for k, v in described['extras_require'].items() if k not in without]
    return [Requirement(r) for names in [described['install_requires'], *extras] for r in names]


def test_the_lowest_versions_are_those_that_are_tested(described):
    wanted = {}
    for requirement in requirements(
        described, 'bench', 'docs', 'openvino', 'ray', 'transformers', 'view'
    ):
        for bound in requirement.specifier:
            assert bound.operator == '>=', requirement
            wanted[canonicalize_name(requirement.name)] = Version(bound.version)
    assert pins('lowest.txt')['3.10'] == wanted
    assert {Requirement(r).name for r in described['install_requires']} <= {
        r.name for r in requirements(described) if r.specifier
    }


@pytest.mark.parametrize('name', ['kilted.txt', 'jazzy.txt'])
def test_all_that_is_required_is_pinned_within_its_bounds(described, name):
    for versions in pins(name).values():
        for requirement in requirements(described):
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier


def test_every_launch_and_config_file_is_installed(described):
    installed = {name for _, names in described['data_files'] for name in names}
    assert files('launch', '*') - files('launch', '__pycache__') <= installed
    assert files('config', '*.*', 'models/*') <= installed
    assert {'package.xml', 'resource/depth_ros'} <= installed


def test_share_mirrors_the_tree(described):
    for target, names in described['data_files']:
        if target.startswith('share/depth_ros'):
            folder = target.removeprefix('share/depth_ros').lstrip('/')
            assert all(str(Path(name).parent) == (folder or '.') for name in names), target


def test_every_folder_of_code_is_installed(described):
    folders = {p.parent.relative_to(ROOT) for p in (ROOT / 'depth_ros').rglob('*.py')}
    assert {'.'.join(folder.parts) for folder in folders} == set(described['packages'])


def test_executables_exist(described):
    for line in described['entry_points']['console_scripts']:
        module, function = line.split(' = ')[1].split(':')
        path = ROOT / module.replace('.', '/')
        path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
        tree = ast.parse(path.read_text())
        assert function in {node.name for node in tree.body if hasattr(node, 'name')}, line


def test_package_xml_names_what_is_imported():
    modules = set()
    for path in [*(ROOT / 'depth_ros').rglob('*.py'), *(ROOT / 'launch').glob('*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.partition('.')[0])
    modules -= {'depth_ros', *sys.stdlib_module_names, *FROM_PIP, *OPTIONAL}
    declared = {e.text for e in PACKAGE.findall('exec_depend')}
    assert {KEYS.get(module, module) for module in modules} == declared


@pytest.mark.parametrize('path', sorted((ROOT / 'config/models').glob('*')), ids=lambda p: p.stem)
def test_model_yaml_names_a_preset_and_sets_known_parameters(path):
    assert path.suffix == '.yaml'
    assert path.stem in PRESETS
    values = preset_values(path.stem)
    assert values.pop('model') == path.stem
    assert values, 'a file that sets nothing can go'


@pytest.fixture
def costmap():
    tree = yaml.safe_load((ROOT / 'config/nav2.yaml').read_text())
    return tree['local_costmap']['local_costmap']['ros__parameters']


def test_nav2_clears_at_every_height_what_it_marks(costmap):
    layer = costmap['voxel_layer']
    sources = [layer[name] for name in layer['observation_sources'].split()]
    marking = [s for s in sources if s['marking']]
    (clearing,) = (s for s in sources if s['clearing'])
    assert marking and not any(s['clearing'] for s in marking)
    # points outside a source's limits are dropped before rays are traced to them
    assert clearing['min_obstacle_height'] < -10 and clearing['max_obstacle_height'] > 10
    for source in marking:
        assert (source['topic'], clearing['topic']) == ('/points', '/points_clearing')
        assert source['obstacle_max_range'] < clearing['raytrace_max_range']
        assert source['max_obstacle_height'] <= layer['max_obstacle_height']
        assert min(costmap['width'], costmap['height']) / 2 >= source['obstacle_max_range']
    # Nav2 shortens each ray by two cells, of 0.1 m at most
    assert clearing['raytrace_max_range'] + 0.2 < Settings().points.clearing_range
    top = layer['origin_z'] + layer['z_voxels'] * layer['z_resolution']
    assert top >= layer['max_obstacle_height']
