# SPDX-License-Identifier: Apache-2.0
"""Message data that grow and shrink from frame to frame."""

import numpy as np
import torch

from depth_ros.ros.outputs.message_buffer import MessageBuffer


def test_floats_are_the_data_whatever_size_comes_next():
    data = MessageBuffer()
    for count in (5, 3, 0, 1000, 999, 1000, 2):
        floats = data.floats(count, 4)
        floats.copy_(torch.arange(4.0 * count).view(count, 4))
        assert floats.shape == (count, 4) and len(data.data) == 16 * count
        assert np.array_equal(
            np.array(data.data.tolist(), np.uint8).view(np.float32),
            np.arange(4.0 * count, dtype=np.float32),
        )
        del floats


def test_what_somebody_looks_at_yet_stays_as_it_is():
    data = MessageBuffer()
    before = data.floats(4)
    before.fill_(7.0)
    data.floats(6).fill_(8.0)
    assert before.tolist() == [7.0] * 4 and len(data.data) == 24
