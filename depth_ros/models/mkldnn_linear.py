# SPDX-License-Identifier: Apache-2.0
"""Fully connected layers on a CPU, twice as fast where torch's own leave half of it idle.

torch multiplies float32 matrices with MKL, which uses 256 of an AVX-512 processor's 512 bits if
AMD made it; oneDNN, which torch brings too and convolves with, uses them all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class MkldnnLinear(nn.Module):
    """What an `nn.Linear` computes, by oneDNN; to infer with only."""

    def __init__(self, dense: nn.Linear) -> None:
        """Takes over the weights of `dense`, float32 on the CPU."""
        super().__init__()
        bias = dense.bias if dense.bias is not None else torch.zeros(dense.out_features)
        self.weight = dense.weight.detach().to_mkldnn()
        self.bias = bias.detach().to_mkldnn()

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), both float32."""
        y: Tensor = torch.ops.aten.mkldnn_linear(x.to_mkldnn(), self.weight, self.bias).to_dense()
        return y


def is_beneficial(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `replace_linears` makes a network faster, or not slower, on this machine."""
    return (
        device.type == 'cpu'
        and dtype is torch.float32
        and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability().startswith('AVX512')
    )


def replace_linears(network: nn.Module) -> None:
    """Replace every `nn.Linear` within `network`, one by one: no weights are there twice."""
    for name, child in list(network.named_children()):
        if type(child) is nn.Linear:  # a subclass may compute something else
            layer: Any = MkldnnLinear(child)
            setattr(network, name, layer)
        else:
            replace_linears(child)
