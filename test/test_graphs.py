# SPDX-License-Identifier: Apache-2.0
"""A CUDA graph computes the same as its network; what cannot be captured runs as before."""

import pytest
import torch

from depth_ros.pipeline.engines.cuda_graphs import CudaGraphNetwork


class Two(torch.nn.Module):
    """A map and its double."""

    def forward(self, x):
        y = x.mean(1).relu()
        return y, 2 * y


@pytest.mark.gpu
@torch.inference_mode()
def test_a_cuda_graph_computes_the_same():
    network = Two().cuda()
    captured = CudaGraphNetwork(network)
    kept = []
    for k in range(8):
        x = torch.randn((1 + k % 2, 3, 30, 40), device='cuda')
        kept.append((captured(x), network(x)))
    for (y, twice), (want, want_twice) in kept:  # each answer is its caller's own
        assert torch.equal(y, want) and torch.equal(twice, want_twice)
    assert len(captured._graphs) == 2 and not captured.disabled_reason


@pytest.mark.gpu
@torch.inference_mode()
def test_what_waits_for_the_gpu_runs_kernel_by_kernel(caplog):
    captured = CudaGraphNetwork(lambda x: x * float(x.sum()))
    x = torch.ones((1, 3, 4, 5), device='cuda')
    for _ in range(4):
        assert torch.equal(captured(x), 60 * x)
    assert captured.disabled_reason and caplog.text.count('no CUDA graph can be captured') == 1


class Refusing(CudaGraphNetwork):
    """As on a GPU where recording fails."""

    def _capture(self, x):
        raise RuntimeError('CUDA error: operation not permitted when stream is capturing')


@torch.inference_mode()
def test_if_capturing_fails_the_network_runs_without_a_graph(caplog):
    network = Two()
    captured = Refusing(network)
    for _ in range(4):
        x = torch.randn((1, 3, 4, 5))
        assert torch.equal(captured(x)[0], network(x)[0])
    assert (
        'not permitted' in captured.disabled_reason
        and caplog.text.count('no CUDA graph can be captured') == 1
    )
