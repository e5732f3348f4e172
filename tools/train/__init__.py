# SPDX-License-Identifier: Apache-2.0
"""Training of the preset `nano` on the synthetic world.

    python -m tools.train --minutes 40 --out runs/nano

Files: samples.py (images rendered in child processes), augment.py (batches), loss.py (loss and
metrics), loop.py (training loop), card.py (model card), evaluate.py (evaluation on scenes that
were not used for training).
"""
