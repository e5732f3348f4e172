# Each verb is one command you could type yourself; the environment that it needs is made once.
#   make demo         a rendered camera, depth_node and a report; needs no camera, GPU or ROS;
#                     `make demo ARGS='--animation docs/demo.webp'` draws the README's picture
#   make test         the tests, on real ROS 2 (Kilted) from PyPI; `make test ARGS='-k scaling'`
#   make test-core    those of the core and the simulation, for the inner loop
#   make test-slow    those that take minutes
#   make test-jazzy   the tests on ROS 2 Jazzy
#   make test-lowest  the tests with the lowest versions that setup.py allows, on Python 3.10
#   make test-newest  the tests with the newest versions of everything
#   make check        format, lint and types
#   make bench        all that is measured, on a quiet machine; `make bench ARGS='--parts stages'`;
#                     `make bench ARGS='--parts filters --costmap docs/costmap.png'` draws a costmap
#   make gpu          on a machine with a GPU, in 8 minutes: CUDA tests, networks, the device path of the
#                     node, training of nano; `make gpu ARGS='--minutes 15 --steps networks'`. Where
#                     nothing can be installed: `python -m tools.gpu --minutes 8`
#   make soak         the node over DDS, while a random schedule kills and changes everything around
#                     it; `make soak ARGS='--minutes 30'`, or `make soak ARGS='--kills 200'`
#   make docs         generated parts of README and docs/, config/depth.yaml, site in build/site
#   make clean        remove what the verbs above and colcon built; the environments stay
#   make distclean    remove the environments, too
# CPU=1, where the environment is made, takes torch without CUDA from PyTorch's own index.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
# pip compiles nothing (--no-compile): the first process that imports a module does, and keeps it.
# Where Python is told not to, every process compiles torch for itself, which takes 5 s or more.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
PYTHON310 ?= $(or $(shell python3.10 -c 'print("python3.10")' 2> /dev/null),$(lastword \
	$(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python3.10)),python3.10)
ARGS ?=
CPU ?=
TORCH_INDEX ?= $(if $(CPU),https://download.pytorch.org/whl/cpu)
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 8 ? n : 8)))

# files in their order: by the number of tests, files of few long tests would come last
PYTEST = -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not slow'
NOT_CORE = ros models test_bench_parts.py test_gpu.py test_gpu_plan.py test_weights_fuzz.py
# $(call pip,ENVIRONMENT,ARGUMENTS): pip; shown are what depth_ros asks for, large files and errors
pip = $(1)/bin/python -m pip install --disable-pip-version-check --no-compile --log $(1)/pip.log \
	$(2) 2>&1 | sed -uEn -e '/^ERROR|^error/,$$p' -e '/Retrying/p' \
		-e 's/^Collecting ([^ ]+) \(from depth_ros.*/  \1/p' \
		-e 's!^ *Downloading (.*/)?([^ /]+) \(([0-9]{2}[0-9.]* MB|[0-9.]+ GB)\)!    \2, \3!p' \
		-e 's/^Installing collected packages.*/  unpacking; about a minute/p'

.PHONY: demo test test-core test-slow test-jazzy test-lowest test-newest check bench gpu soak docs \
	clean distclean

demo: .venv/demo
	.venv/bin/python -m tools.demo $(ARGS)

test: .venv/test
	.venv/bin/python $(PYTEST) $(ARGS)

test-core: .venv/test
	.venv/bin/python $(PYTEST) $(NOT_CORE:%=--ignore=test/%) $(ARGS)

test-slow: .venv/test
	.venv/bin/python -m pytest -m slow $(ARGS)

test-jazzy: .venv-jazzy/test
	.venv-jazzy/bin/python $(PYTEST) $(ARGS)

test-lowest: .venv-lowest/test
	.venv-lowest/bin/python $(PYTEST) $(ARGS)

test-newest: EXTRAS = all,bench,docs,openvino,ray,view
test-newest:
	@echo '.venv-newest: the newest versions, 6 GB'
	@[ -x .venv-newest/bin/python ] || $(PYTHON) -m venv .venv-newest
	@$(call pip,.venv-newest,--upgrade --upgrade-strategy eager -e '.[$(EXTRAS)]')
	.venv-newest/bin/python $(PYTEST) $(ARGS)

check: .venv/test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

bench: .venv/bench
	.venv/bin/python -m tools.bench $(ARGS)

gpu: .venv/gpu
	.venv/bin/python -m tools.gpu $(ARGS)

soak: .venv/demo
	.venv/bin/python -m tools.soak $(ARGS)

docs: .venv/docs
	.venv/bin/python -m tools.docs --write
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --quiet

clean:
	rm -rf build install log demo .pytest_cache .mypy_cache .ruff_cache
	find depth_ros launch test tools -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-jazzy .venv-lowest .venv-newest depth_ros.egg-info

# What a verb needs beyond the package itself: extras of setup.py. Tests need all.
.venv/demo: EXTRAS = ros,report
.venv/test: EXTRAS = all,bench,docs,openvino,ray,view
.venv/test: ALSO = .venv/demo .venv/bench .venv/docs .venv/gpu
.venv/bench: EXTRAS = ros,onnx,report,bench
.venv/docs: EXTRAS = docs
.venv/gpu: EXTRAS = ros,bench,test

.venv/demo .venv/test .venv/bench .venv/docs .venv/gpu: setup.py constraints/common.txt \
		constraints/kilted.txt | .venv/made
	@echo 'installing depth_ros with $(EXTRAS) into .venv; the output of pip is in .venv/pip.log'
	@$(call pip,.venv,-c constraints/kilted.txt -e '.[$(EXTRAS)]')
	@touch $@ $(ALSO)

.venv/made:
	@echo 'making .venv with $(if $(TORCH_INDEX),torch from $(TORCH_INDEX),torch for CUDA: 6 GB; CPU=1 takes less)'
	@$(PYTHON) -m venv .venv
	@$(if $(TORCH_INDEX),$(call pip,.venv,-c constraints/kilted.txt --no-deps \
		--index-url $(TORCH_INDEX) torch torchvision))
	@touch $@

# torch and the like are borrowed from .venv, through a .pth file: its folders come after the
# environment's own. Not before ROS is in, or pip would count the Kilted wheels as there.
.venv-jazzy/test: constraints/jazzy.txt .venv/test
	@echo 'making .venv-jazzy: ROS 2 Jazzy with the torch of .venv'
	@$(PYTHON) -m venv .venv-jazzy
	@$(call pip,.venv-jazzy,-c constraints/jazzy.txt 'ros-rclpy[fastrtps]' ros-diagnostic-msgs \
		ros-geometry-msgs ros-lifecycle-msgs ros-nav-msgs ros-sensor-msgs)
	@$(call pip,.venv-jazzy,--no-deps -e .)
	@.venv/bin/python -c 'import site; print(site.getsitepackages()[0])' > \
		$$(.venv-jazzy/bin/python -c 'import site; print(site.getsitepackages()[0])')/borrowed.pth
	@touch $@

.venv-lowest/test: setup.py constraints/lowest.txt
	@$(PYTHON310) -c '' || { echo 'there is no Python 3.10; set PYTHON310 to one' >&2; exit 1; }
	@echo "making .venv-lowest with $$($(PYTHON310) --version): the lowest versions, 6 GB"
	@$(PYTHON310) -m venv .venv-lowest
	@$(call pip,.venv-lowest,-c constraints/lowest.txt -e '.[all]')
	@touch $@
