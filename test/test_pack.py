# SPDX-License-Identifier: Apache-2.0
"""What goes into messages."""

import numpy as np
import pytest
import torch

from depth_ros.core import encode
from depth_ros.core.camera import Camera
from depth_ros.core.types import DepthMap

CAM = Camera(16, 8, 12.0, 12.0, 7.5, 3.5)
RNG = np.random.default_rng(3)
RGB = torch.from_numpy(RNG.integers(0, 256, (8, 16, 3), np.uint8))
nan, inf = torch.nan, torch.inf


def test_colours_are_packed_as_pcl_does_and_are_never_nan():
    cloud = encode.cloud(DepthMap(torch.ones(8, 16), CAM, RGB))
    memory = cloud.numpy().tobytes()
    colours = np.frombuffer(memory, np.uint8).reshape(8, 16, 16)[..., 12:]
    np.testing.assert_array_equal(colours[..., 2::-1], RGB.numpy())  # b g r in memory
    assert not colours[..., 3].any() and torch.isfinite(cloud).all()


def test_strided_cloud_takes_the_pixels_it_names():
    z = torch.arange(1.0, 129).reshape(8, 16)
    cloud = encode.cloud(DepthMap(z, CAM, RGB), stride=3)
    assert cloud.shape == (3, 6, 4)
    assert (cloud[..., 2] == z[::3, ::3]).all()


@pytest.mark.parametrize('color', [True, False])
@pytest.mark.parametrize('stride', [1, 2, 3])
def test_cpu_and_gpu_paths_encode_the_same_bytes(stride, color):
    z = torch.rand(8, 16, generator=torch.Generator().manual_seed(2)) * 5
    z[0], z[1, ::2], z[2, ::3] = nan, inf, -inf
    depth = DepthMap(z, CAM, RGB)
    size = (*encode.cloud_size(CAM, stride), 4)
    fast = encode._cloud_by_opencv(depth, stride, color, torch.empty(size))
    plain = encode._cloud_by_torch(depth, stride, color, torch.empty(size))
    torch.testing.assert_close(fast[..., :3], plain[..., :3], equal_nan=True, rtol=1e-6, atol=0)
    assert torch.equal(fast.view(torch.int32)[..., 3], plain.view(torch.int32)[..., 3])
    flat = plain.reshape(-1, 4)
    assert torch.equal(encode._dense_by_numpy(flat, torch.empty), encode._dense_by_torch(flat))


def test_a_picture_with_padded_rows_gives_its_colours():
    padded = torch.zeros((8, 20, 3), dtype=torch.uint8)
    padded[:, :16] = RGB
    view = DepthMap(torch.ones(8, 16), CAM, padded[:, :16])
    whole = DepthMap(torch.ones(8, 16), CAM, RGB)
    for stride in (1, 2):
        assert torch.equal(encode.cloud(view, stride), encode.cloud(whole, stride))


@pytest.mark.parametrize('stride', [1, 2])
def test_a_cloud_with_known_depth_is_the_same(stride):
    out = torch.empty((*encode.cloud_size(CAM, stride), 4))
    for z in (torch.ones(8, 16), torch.ones(8, 16).index_fill(0, torch.tensor([1, 4]), nan)):
        points = encode.cloud(DepthMap(z, CAM, RGB), stride, out=out)
        assert points.data_ptr() == out.data_ptr()
        assert torch.equal(encode.dense(points, z), encode.dense(points))


def test_dense_cloud_has_finite_points_only():
    z = torch.ones(8, 16)
    z[0], z[1], z[2] = nan, inf, -inf
    points = encode.dense(encode.cloud(DepthMap(z, CAM, RGB)))
    assert points.shape == (5 * 16, 4) and torch.isfinite(points).all()


def test_a_dense_cloud_is_written_where_there_is_room():
    z = torch.ones(8, 16)
    z[0] = nan
    rooms = []

    def room(*shape):
        rooms.append(torch.empty(shape))
        return rooms[-1]

    organised = encode.cloud(DepthMap(z, CAM, RGB))
    points = encode.dense(organised, z, room)
    assert points.data_ptr() == rooms[0].data_ptr() and torch.equal(
        points, encode.dense(organised)
    )


def test_a_cloud_of_nothing_is_empty():
    points = encode.dense(encode.cloud(DepthMap(torch.full((8, 16), inf), CAM, RGB)))
    assert points.shape == (0, 4)


def test_millimetres_are_zero_where_they_do_not_fit():
    z = torch.tensor([[nan, inf, -inf, 65.535, 65.536, 0.0004, 1.2345, 0.0]])
    assert encode.millimetres(z).tolist() == [[0, 0, 0, 65535, 0, 0, 1235, 0]]
    assert encode.millimetres(z).tolist() == encode._millimetres_by_torch(z).tolist()
    z = torch.rand(99, 99, generator=torch.Generator().manual_seed(5)) * 80 - 5
    assert encode.millimetres(z).tolist() == encode._millimetres_by_torch(z).tolist()


def test_colours_separate_near_far_sky_and_invalid():
    z = torch.tensor([[0.0, 5.0, 10.0, 99.0, nan, inf, -inf]])
    near, middle, far, beyond, invalid, sky, too_near = encode.colorize(z, 0, 10, 'turbo')[
        0
    ].tolist()
    assert far == beyond and len({tuple(c) for c in (near, middle, far, invalid, sky)}) == 5
    assert invalid == too_near == list(encode.INVALID_COLOR) and sky == list(encode.FAR_COLOR)
    assert near[0] > near[2] and far[2] > far[0] - 30  # hot is near


@pytest.mark.parametrize('colormap', ['turbo', 'bone'])
def test_colours_are_the_same_on_a_cpu_and_on_a_gpu(colormap):
    z = torch.rand(20, 30, generator=torch.Generator().manual_seed(5)) * 14 - 1
    z[0], z[1], z[2] = nan, inf, -inf
    how = (z, 1.5, 11.0, 253 / 9.5, encode._color_table(colormap))
    fast, plain = encode._colorize_by_opencv(*how), encode._colorize_by_torch(*how)
    assert torch.equal(fast[:3], plain[:3])
    # rounding may differ by one level, which is a few steps of a colour
    assert (fast.int() - plain.int()).abs().max() <= 8
    assert torch.equal(encode.colorize(z, 1.5, 11.0, colormap), fast)
