# SPDX-License-Identifier: Apache-2.0
"""Fully connected layers computed by oneDNN, twice as fast on AMD processors with AVX-512.

torch multiplies float32 matrices with MKL, which uses only 256 of the 512 bits on AMD processors.
oneDNN, which is part of torch and computes its convolutions, uses all of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class MkldnnLinear(nn.Module):
    """Replacement of an `nn.Linear` for inference, computed by oneDNN.

    Args:
        dense: float32 layer on the CPU, whose weights are copied to the format of oneDNN.
    """

    def __init__(self, dense: nn.Linear) -> None:
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
    """Replace every `nn.Linear` in `network` in place, one by one to save memory."""
    for name, child in list(network.named_children()):
        if type(child) is nn.Linear:  # a subclass may compute something else
            layer: Any = MkldnnLinear(child)
            setattr(network, name, layer)
        else:
            replace_linears(child)
