# SPDX-License-Identifier: Apache-2.0
"""Adapters of low rank: a large layer learns by two thin matrices, and forgets little.

Source: Hu et al. 2021, arXiv 2106.09685.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RANK = 8
ENDS = ('.down', '.up')  #: of the names of the two matrices


class LowRank(nn.Linear):
    """A fully connected layer W that is frozen, and learns: W + up @ down.

    The paper multiplies by alpha / r, a rate of learning; here alpha is r. `up` is zero at first,
    so the output is that of W, bit by bit.

    Args:
        dense: W and bias, which are shared.
        rank: r.
        generator: of the initial values of `down`.
    """

    def __init__(self, dense: nn.Linear, rank: int, generator: torch.Generator) -> None:
        with torch.device('meta'):  # the layer's own values are replaced at once
            super().__init__(dense.in_features, dense.out_features, dense.bias is not None)
        self.weight, self.bias = dense.weight, dense.bias
        bound = 1 / math.sqrt(dense.in_features)
        down = torch.empty(rank, dense.in_features).uniform_(-bound, bound, generator=generator)
        self.down = nn.Parameter(down.to(dense.weight))
        self.up = nn.Parameter(dense.weight.new_zeros(dense.out_features, rank))
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return super().forward(x) + F.linear(F.linear(x, self.down), self.up)

    def merged(self) -> Tensor:
        """W + up @ down, (out, in)."""
        return self.weight.detach() + self.up.detach() @ self.down.detach()


def adapt_linears(network: nn.Module, names: Iterable[str], rank: int = RANK) -> None:
    """Replace linear layers of a network, in place.

    Args:
        network: on its device.
        names: last parts of the names of these layers.
        rank: of the adapters.
    """
    wanted = set(names)
    generator = torch.Generator().manual_seed(0)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if name in wanted and type(child) is nn.Linear:
                setattr(module, name, LowRank(child, rank, generator))


def merged_state(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network as if it had been trained without adapters, on the CPU in fp32."""
    state = {name: v for name, v in network.state_dict().items() if not name.endswith(ENDS)}
    for name, module in network.named_modules():
        if isinstance(module, LowRank):
            state[f'{name}.weight'] = module.merged()
    return plain(state)


def plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors on the CPU, of fp32 or integers: the network learns on."""
    detached = {name: value.detach().cpu().clone() for name, value in state.items()}
    return {k: v.float() if v.is_floating_point() else v for k, v in detached.items()}
