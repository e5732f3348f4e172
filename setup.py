# SPDX-License-Identifier: Apache-2.0
"""The package as colcon (ament_python) and pip install it."""

import re
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = 'depth_ros'
# Read, not imported: pip builds this package before its dependencies are there.
INIT = Path(__file__).resolve().parent / NAME / '__init__.py'
VERSION = re.search(r"^__version__ = '(.+)'$", INIT.read_text(), re.MULTILINE).group(1)

EXTRAS = {
    # Real ROS 2 from PyPI, for x86-64 machines without an apt installation of it. The newest
    # wheels are Kilted (rclpy 9.1.2); constraints/jazzy.txt has those of Jazzy (7.1.6).
    'ros': [
        'ros-rclpy[fastrtps]>=7.1.6',
        'ros-diagnostic-msgs>=5.3.6',
        'ros-geometry-msgs>=5.3.6',
        'ros-lifecycle-msgs>=2.0.3',
        'ros-nav-msgs>=5.3.6',
        'ros-sensor-msgs>=5.3.6',
    ],
    'onnx': ['onnxruntime>=1.12'],
    # what a robot without a GPU needs: it runs fastdepth_nyu and other .tflite files, and as
    # engine:=openvino it is the fastest on most CPUs
    'openvino': ['onnxscript', 'openvino>=2026.4'],
    # bags for `depth-ros run`, without ROS
    'bags': ['rosbags>=0.11'],
    # `depth-ros view`
    'view': ['rerun-sdk>=0.39'],
    # `depth-ros run --ray`
    'ray': ['ray>=2.60'],
    # the demo's page, with a cloud to turn
    'report': ['plotly>=5.9'],
    # what our networks are compared with
    'bench': ['onnxscript', 'rosbags>=0.11', 'transformers>=5'],
    # any network for depth of the Hugging Face hub
    'transformers': ['transformers>=5'],
    # the documentation as a site
    'docs': ['mkdocs-material'],
    'test': [
        'hypothesis',
        'mypy',
        'onnx>=1.14',
        'pytest>=8.0',
        'pytest-xdist>=3.8',
        'ruff',
        'setuptools>=64',  # a venv of Python 3.12 or later has none
        'wheel',  # setuptools before 70.1 needs it
    ],
}
#: not part of [all]: large, or for the developers
HEAVY = ('bench', 'docs', 'openvino', 'ray', 'transformers', 'view')
ALL = [name for extra, names in EXTRAS.items() if extra not in HEAVY for name in names]

setup(
    name=NAME,
    version=VERSION,
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    # what depth_ros/models/nano can do without a download
    package_data={
        f'{NAME}.models': ['facts.json'],
        f'{NAME}.models.nano': ['*.safetensors', 'card.*'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/launch', sorted(glob('launch/*.launch.py'))),
        (f'share/{NAME}/config', sorted(glob('config/*.*'))),
        (f'share/{NAME}/config/models', sorted(glob('config/models/*.yaml'))),
    ],
    python_requires='>=3.10',
    # The lowest versions, with which `make test-lowest` runs. colcon neither installs nor checks
    # them: OpenCV may be apt's python3-opencv there.
    install_requires=[
        'huggingface_hub>=0.25',
        'numpy>=1.21.5',
        'opencv-python-headless>=4.5.4.60',
        'Pillow>=9.0.1',
        'PyYAML>=6.0',
        'safetensors>=0.8',  # reads without mapping the file
        'timm>=1.0.21',
        'torch>=2.10',  # before it torch.load is not safe
    ],
    extras_require={**EXTRAS, 'all': ALL},
    entry_points={
        'console_scripts': [
            'depth_node = depth_ros.ros.__main__:main',
            'depth-ros = depth_ros.cli:main',
            'synthetic_camera = depth_ros.sim.camera_node:main',
        ],
    },
    zip_safe=False,  # weights are read as files
    maintainer='depth_ros maintainers',
    maintainer_email='depth_ros@example.org',
    description='Metric depth and point clouds from one camera, for ROS 2',
    long_description='See README.md.',
    license='Apache-2.0',
    classifiers=['Programming Language :: Python :: 3', 'Topic :: Scientific/Engineering'],
)
