# SPDX-License-Identifier: Apache-2.0
"""Outputs of the published networks with the formula's weights, and how far another one is off.

A fixture is one .npz file for one published network. It holds several cases (inputs) with the
arrays that the network gave for them, mostly every n-th pixel. test/data/README.md lists them.
"""

import functools
import json
from pathlib import Path

import cv2
import numpy as np
import torch

HERE = Path(__file__).parent / 'data'
PARITY = HERE / 'parity'
PICTURE = HERE / 'images' / 'tum_fr2_desk.png'


@functools.cache
def picture() -> np.ndarray:
    """The picture that all cases come from: (480, 640, 3) uint8 RGB."""
    return cv2.cvtColor(cv2.imread(str(PICTURE)), cv2.COLOR_BGR2RGB)


class Fixture:
    """One file. `case in fixture` asks for a case, `fixture.cases[case]` describes it."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self.arrays = {name: file[name] for name in file.files}
        self.meta = json.loads(str(self.arrays.pop('meta')))
        self.cases = self.meta['cases']

    def __contains__(self, case: str) -> bool:
        return case in self.cases

    def pixels(self, case: str, name: str = 'input') -> np.ndarray:
        """What the case shows to the network: (h, w, 3) uint8 RGB."""
        if f'{case}_{name}' in self.arrays:
            return self.arrays[f'{case}_{name}']
        source = self.cases[case]['input']
        if 'array' in source:
            return self.pixels(source['case'], source['array'])
        whole = self.pixels(source['case']) if 'case' in source else picture()
        y, x = source['y'], source['x']
        return whole[y : y + source['h'], x : x + source['w']]

    def network_input(self, case: str, name: str = 'input') -> torch.Tensor:
        """`pixels`, normalised as the published network takes them: (1, 3, h, w) float32."""
        mean, std = (np.array(self.meta[key], np.float32) for key in ('mean', 'std'))
        x = (self.pixels(case, name).astype(np.float32) / np.float32(255) - mean) / std
        return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)[None]))

    def input_difference(
        self, case: str, found: torch.Tensor, name: str = 'input'
    ) -> torch.Tensor:
        """A whole network input (3, h, w) minus the stored pixels; 1 is from black to white."""
        std = torch.tensor(self.meta['std']).view(3, 1, 1)
        rows, columns, _ = self.stored(case, name)[1]
        return (found[:, rows, columns] - self.network_input(case, name)[0]) * std

    def stored(self, case: str, name: str) -> tuple[np.ndarray, tuple[slice, ...]]:
        """An array of the case, and which part it is of the network's whole output."""
        strides = self.cases[case]['arrays'][name]['stride']
        return self.arrays[f'{case}_{name}'], tuple(slice(None, None, n) for n in strides)

    def error(self, case: str, name: str, found: torch.Tensor) -> float:
        """Greatest difference of a whole output, over the greatest expected value."""
        expected, part = self.stored(case, name)
        whole = self.cases[case]['arrays'][name]['shape']  # without the batch of one
        part_found = found.detach().double().numpy().reshape(whole)[part]
        assert part_found.shape == expected.shape
        return float(np.abs(part_found - expected).max() / np.abs(expected).max())
