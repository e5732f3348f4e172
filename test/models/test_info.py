# SPDX-License-Identifier: Apache-2.0
"""`depth-ros info` on a checkpoint."""

from depth_ros.cli import main


def test_info_tells_what_a_checkpoint_is_and_which_presets_take_it(small_file, capsys):
    assert main(['info', str(small_file)]) == 0
    said = capsys.readouterr().out
    assert '24.79 million numbers, float32' in said
    assert 'looks     Depth Anything v1 or v2' in said
    presets = said.split('presets')[1]
    for fits in ('depth_anything_v1_small', 'depth_anything_v2_metric_outdoor_small'):
        assert fits in presets
    assert 'base' not in presets and 'glpdepth' not in presets
    assert 'cannot tell these apart' in said
