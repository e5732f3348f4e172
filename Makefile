# Each verb is one command you could type yourself; the environment it needs is made once.
#   make demo         a rendered camera, depth_node and a report; needs no camera, GPU or ROS;
#                     `make demo ARGS='--animation docs/demo.webp --size 640x480'` draws the README's
#   make test         the tests, on real ROS 2 (Kilted) from PyPI; `make test ARGS='-k scaling'`
#   make test-slow    those that take minutes
#   make test-jazzy   the tests on ROS 2 Jazzy
#   make check        format, lint and types
#   make bench        all that is measured, on a quiet machine; `make bench ARGS='--parts stages'`
#   make docs         generated parts of README and docs/, config/depth.yaml, site in build/site
#   make clean        remove what make and colcon made here
PYTHON ?= python3
ARGS ?=

# The Jazzy wheels; without them pip takes the newest, Kilted.
JAZZY = 'ros-rclpy[fastrtps]==7.1.6' ros-diagnostic-msgs==5.3.6 ros-geometry-msgs==5.3.6 \
	ros-lifecycle-msgs==2.0.3 ros-nav-msgs==5.3.6 ros-sensor-msgs==5.3.6

.PHONY: demo test test-slow test-jazzy check bench docs clean

demo: .venv/ready
	.venv/bin/python -m tools.demo $(ARGS)

test: .venv/ready
	.venv/bin/python -m pytest -m 'not slow' $(ARGS)

test-slow: .venv/ready
	.venv/bin/python -m pytest -m slow $(ARGS)

test-jazzy: .venv-jazzy/ready
	.venv-jazzy/bin/python -m pytest -m 'not slow' $(ARGS)

check: .venv/ready
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

bench: .venv/ready
	.venv/bin/python -m tools.bench $(ARGS)

docs: .venv/ready
	.venv/bin/python -m tools.docs --write
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --quiet

clean:
	rm -rf .venv .venv-jazzy build install log demo

# torch is taken as PyPI has it, with CUDA (6 GB): a CPU wheel from elsewhere does not fit the
# torchvision that timm brings.
.venv/ready: setup.py
	@echo 'making .venv: torch, timm and ROS 2 from PyPI, 6 GB; once'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -e '.[all]'
	@touch $@

# torch and the like are borrowed from .venv, through a .pth file: its folders come after one's
# own. Not before ROS is in, or pip would count the Kilted wheels as there.
.venv-jazzy/ready: .venv/ready
	@echo 'making .venv-jazzy: ROS 2 Jazzy from PyPI beside the torch of .venv; once'
	$(PYTHON) -m venv .venv-jazzy
	.venv-jazzy/bin/python -m pip install --quiet $(JAZZY)
	.venv-jazzy/bin/python -m pip install --quiet --no-deps -e .
	.venv/bin/python -c 'import site; print(site.getsitepackages()[0])' > \
		$$(.venv-jazzy/bin/python -c 'import site; print(site.getsitepackages()[0])')/borrowed.pth
	@touch $@
