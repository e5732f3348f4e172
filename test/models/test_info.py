# SPDX-License-Identifier: Apache-2.0
"""`depth-ros info` on a checkpoint."""

import zipfile

import stand_ins

from depth_ros.cli import main
from depth_ros.models import PRESETS


def test_info_names_the_checkpoint_and_the_presets_that_load_it(small_file, capsys):
    assert main(['info', str(small_file)]) == 0
    said = capsys.readouterr().out
    assert '24.79 million numbers, float32' in said
    assert 'looks     Depth Anything v1 or v2' in said
    presets = said.split('presets')[1]
    for fits in ('depth_anything_v1_small', 'depth_anything_v2_metric_outdoor_small'):
        assert fits in presets
    assert 'base' not in presets and 'glpdepth' not in presets
    assert 'they have the same tensors' in said


def test_info_accepts_file_folder_and_zip(tmp_path, capsys):
    preset = PRESETS['monodepth2_stereo_640x192']
    stand_ins.write(preset, tmp_path)
    with zipfile.ZipFile(tmp_path / 'any name.zip', 'w') as archive:
        for name in ('encoder.pth', 'depth.pth'):
            archive.write(tmp_path / name, name)
    for what in ('any name.zip', 'encoder.pth', ''):
        assert main(['info', str(tmp_path / what)]) == 0
        presets = capsys.readouterr().out.split('presets')[1]
        assert 'monodepth2_stereo_640x192' in presets and 'monodepth2_mono_640x192' not in presets


def test_info_names_what_is_missing(tmp_path, capsys):
    stand_ins.write(PRESETS['monodepth2_stereo_640x192'], tmp_path)
    (tmp_path / 'depth.pth').unlink()
    assert main(['info', str(tmp_path / 'encoder.pth')]) == 0
    presets = capsys.readouterr().out.split('presets')[1]
    assert presets.lstrip().startswith('none') and 'has no depth.pth' in presets
    assert 'looks like' not in presets
