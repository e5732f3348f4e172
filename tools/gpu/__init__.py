# SPDX-License-Identifier: Apache-2.0
"""Everything that needs a GPU, in one command, within a given time.

    python -m tools.gpu --minutes 8 --out benchmarks/results

It needs neither ROS nor a network, and uses what it finds installed. The results are those of
`tools.bench`, in the same file, so that `make docs` shows them.

Files: plan.py (steps and their time), workers.py and worker.py (processes that run one step each),
results.py (the file), and the steps: about.py, gpu_tests.py, node.py, network.py, stages.py with
device_path.py, training.py.
"""
