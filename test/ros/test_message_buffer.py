# SPDX-License-Identifier: Apache-2.0
"""Message data that grow and shrink from frame to frame."""

import numpy as np
import pytest
import torch
from sensor_msgs.msg import Image, PointCloud2

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


def test_a_message_in_use_is_not_overwritten():
    data = MessageBuffer()
    before = data.floats(4)
    before.fill_(7.0)
    data.floats(6).fill_(8.0)
    assert before.tolist() == [7.0] * 4 and len(data.data) == 24


@pytest.mark.parametrize('message', [Image(), PointCloud2()], ids=['image', 'cloud'])
def test_a_message_holds_the_memory_itself_as_large_as_the_tensor(message):
    buffer = MessageBuffer()
    for count in (5, 5, 3, 0, 1000, 999):
        buffer.copy_from(torch.arange(float(count)))
        buffer.give_to(message)
        assert message.data is buffer.data and message.data.typecode == 'B'
        assert np.array_equal(np.frombuffer(message.data, np.float32), np.arange(float(count)))


class OnGpu:
    """A tensor that says it is on a GPU; its copies arrive when `arrive` is called."""

    def __init__(self, tensor):
        self.tensor = tensor
        self.is_cuda = True
        self.device = tensor.device

    def __len__(self):
        return len(self.tensor)

    def contiguous(self):
        return OnGpu(self.tensor.contiguous())

    def view(self, dtype):
        return OnGpu(self.tensor.view(dtype))

    def reshape(self, *shape):
        return OnGpu(self.tensor.reshape(*shape))


@pytest.fixture
def gpu(monkeypatch):
    """Copies from `OnGpu` happen when this is called, as a GPU's do after its work."""
    late, copy, empty = [], torch.Tensor.copy_, torch.empty

    def copy_(target, source, non_blocking=False):
        if not isinstance(source, OnGpu):
            return copy(target, source)
        late.append(lambda: copy(target, source.tensor))
        return target

    def arrive():
        while late:
            late.pop(0)()

    monkeypatch.setattr(torch.Tensor, 'copy_', copy_)
    monkeypatch.setattr(torch, 'empty', lambda *a, pin_memory=False, **k: empty(*a, **k))
    monkeypatch.setattr(MessageBuffer, '_lock', lambda *_: None)
    return arrive


def test_a_message_from_a_gpu_is_complete_and_of_this_frame(gpu):
    """The message is made before its data arrive, which must not show."""
    buffer = MessageBuffer()
    for frame, count in enumerate((4, 4, 4, 6, 2, 0, 7, 7)):
        values = torch.full((count,), float(frame))
        message = PointCloud2(width=count)
        buffer.copy_from(OnGpu(values))
        gpu()
        buffer.give_to(message)
        assert message.data is buffer.data
        assert np.frombuffer(message.data, np.float32).tolist() == values.tolist()


def test_a_frame_that_failed_half_way_leaves_nothing_for_the_next(gpu):
    buffer = MessageBuffer()
    buffer.copy_from(OnGpu(torch.ones(4)))  # its frame failed: never given to a message
    gpu()
    message = PointCloud2()
    buffer.copy_from(OnGpu(torch.ones(0)))
    gpu()
    buffer.give_to(message)
    assert len(message.data) == 0
