# SPDX-License-Identifier: Apache-2.0
"""Training of the preset `nano` on the synthetic world.

    python -m tools.train --minutes 40 --out runs/nano

Files: views.py renders in processes of their own, augment.py makes batches of it, loss.py what is
minimised and measured, loop.py the steps, card.py what is written beside the weights, evaluate.py
how good the result is on scenes that were never trained on.
"""
