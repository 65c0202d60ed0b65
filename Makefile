# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-tflite-runtime test-firmware test-kernel fuzz-models lint types bench models clean

help:  ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# $(call debian,CHECK,PACKAGE): if CHECK fails, install Debian's PACKAGE where that may be done, else say so and go on.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo -n)
APT_GET := $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get
debian = $(1) >/dev/null 2>&1 || { echo "installing Debian's $(2) ..." \
	&& $(APT_GET) -q update && $(APT_GET) -qy install $(2); } || echo "could not. Run: sudo apt install $(2)"

# $(call pip,FOLDER,WHAT): a line a package, so that one sees it move.
pip = $(1)/bin/pip install --disable-pip-version-check --no-input $(2) \
	| sed -un '/^ *\(Collecting\|Downloading\|Building\|Installing\|Successfully\)/p'

%/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "edgeagent needs Python 3.11 to 3.13, this is %d.%d: make PYTHON=python3.11 ..." % v)'
	@$(call debian,$(PYTHON) -c "import ensurepip",python3-venv)
	@echo "making $* ..."
	@$(PYTHON) -m venv $*

$(VENV)/.core: pyproject.toml | $(VENV)/bin/python
	@echo "installing edgeagent into $(VENV) (about a minute, once) ..."
	@$(call pip,$(VENV),-e .)
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing edgeagent and the development tools into $(VENV) (about a minute, once) ..."
	@$(call pip,$(VENV),-e .[dev])
	@touch $(VENV)/.core $@

setup: $(VENV)/.core  ## make .venv with edgeagent in it

demo: $(VENV)/.core  ## the whole job on virtual hardware (ARGS="--fast --json")
	@$(RUN)/edgeagent demo $(ARGS)

test: $(VENV)/.dev test-tflite-runtime  ## the whole test suite, the inference tests on both runtimes
	@$(call debian,command -v systemd-analyze,systemd)
	@$(call debian,command -v cc,gcc libc6-dev)
	@$(call debian,PATH=$$PATH:/usr/sbin command -v i2cdetect,i2c-tools)
	@$(call debian,PATH=$$PATH:/usr/sbin command -v mosquitto,mosquitto)
	@$(call debian,PATH=$$PATH:/usr/sbin command -v nats-server,nats-server)
	@$(call debian,PATH=$$PATH:/usr/sbin command -v iptables,iproute2 iptables)
	@# two files at a time: most tests wait more than they compute; as they stand, not those of few but long tests last
	$(RUN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# The runtime of 32-bit Raspberry Pi OS: nothing newer than Python 3.11 and numpy 1.
.venv-tflite/.ready: pyproject.toml | .venv-tflite/bin/python
	@echo "installing tflite-runtime into .venv-tflite (half a minute, once) ..."
	@$(call pip,.venv-tflite,"tflite-runtime==2.14.*" "numpy<2" msgspec backports.zstd "ruamel.yaml>=0.18.6" flatbuffers pytest pytest-timeout)
	@$(call pip,.venv-tflite,--no-deps -e .)
	@touch $@

test-tflite-runtime:  ## only the inference tests, on tflite-runtime (Python 3.11)
	@$(call debian,command -v cc,gcc libc6-dev)
	@if $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then \
		$(MAKE) --no-print-directory .venv-tflite/.ready \
		&& .venv-tflite/bin/pytest -m tflite_runtime tests/inference; \
	else echo "the inference tests on tflite-runtime: not run: needs Python 3.11"; [ -z "$${CI:-}" ]; fi

# What compiles and runs the firmware: for the Cortex-M, for the Uno, for the fuzzer and the floors.
FIRMWARE_PACKAGES := gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm \
	gcc-avr avr-libc arduino-core-avr libsimavr-dev clang libclang-rt-dev valgrind

# $(call with,TOOL,TARGET): make TARGET of the C library if there is TOOL, else say so; in CI there is.
with = if command -v $(1) >/dev/null || [ -n "$${CI:-}" ]; then $(MAKE) --no-print-directory -C firmware_bridge/c $(2); \
	else echo "$(2): not run: needs $(1)"; fi

test-firmware: $(VENV)/.dev  ## the C library, and real firmware on emulated boards (ARGS for pytest)
	@$(call debian,dpkg -s $(FIRMWARE_PACKAGES),$(FIRMWARE_PACKAGES))
	@$(call with,cc,all sanitized)
	@$(call with,arm-none-eabi-gcc,size cortex-m)
	@$(call with,avr-gcc,uno)
	@$(call with,valgrind,figures)
	@$(call with,clang,strict fuzz)
	$(RUN)/pytest -m firmware tests/firmware $(ARGS)

# What boots Debian's kernel, and that kernel: fetched and unpacked, not installed.
KERNEL_PACKAGES := qemu-system-x86 busybox-static kmod udev
KERNEL := build/kernel
$(KERNEL)/.unpacked:
	@rm -rf $(KERNEL) && mkdir -p $(KERNEL)
	@echo "fetching Debian's kernel (70 MB, once) ..."
	@cd $(KERNEL) && fetch() { apt-get -q download $$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: //p'); } \
		&& { fetch || { $(APT_GET) -q update && fetch; }; } \
		&& dpkg-deb -x linux-image-*.deb . && rm linux-image-*.deb \
		&& PATH=$$PATH:/usr/sbin depmod -b . $$(ls lib/modules) && touch .unpacked \
		|| echo "could not fetch Debian's kernel (package linux-image-amd64)"

test-kernel: $(VENV)/.dev  ## sensors and buses on a real kernel, booted in an emulator (ARGS for pytest)
	@$(call debian,dpkg -s $(KERNEL_PACKAGES),$(KERNEL_PACKAGES))
	@$(MAKE) -s --no-print-directory $(KERNEL)/.unpacked
	@$(RUN)/python -m compileall -q edgeagent firmware_bridge tests/kernel  # quicker here than in there
	@$(RUN)/python tests/kernel/boot.py $(ARGS)

fuzz-models: $(VENV)/.dev  ## ten thousand malformed models, five minutes (ARGS="--mutants 1000 --format onnx")
	@$(RUN)/python tests/inference/fuzz.py $(ARGS)

lint: $(VENV)/.dev  ## ruff: rules and format
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: $(VENV)/.dev  ## mypy --strict
	$(RUN)/mypy
	@for conftest in tests/conftest.py tests/*/conftest.py; do $(RUN)/mypy $$conftest || exit; done

.PHONY: test-crashes test-kills
test-crashes: $(VENV)/.dev  ## a million simulated power cuts (make test: 10,000)
	EDGEAGENT_CRASH_STATES=1000000 $(RUN)/pytest tests/faults/test_power_cuts.py

test-kills: $(VENV)/.dev  ## kill -9 the outbox a thousand times (make test: a dozen)
	EDGEAGENT_KILLS=1000 $(RUN)/pytest tests/faults/test_outbox_kills.py

.venv-train/.ready: pyproject.toml | .venv-train/bin/python
	@echo "installing TensorFlow into .venv-train (2 GB, some minutes, once) ..."
	@$(call pip,.venv-train,-e .[train])
	@touch $@

models: .venv-train/.ready  ## train the shipped models anew (TensorFlow, 2 GB)
	for model in activity motion_anomaly surface; do .venv-train/bin/python models/$$model/train.py; done
	.venv-train/bin/edgeagent model list --write models/README.md

bench: $(VENV)/.dev  ## measure against the floors (ARGS="child replay": only those)
	@$(RUN)/python -m compileall -q edgeagent firmware_bridge  # as pip leaves a package that it installs
	@PYTHONPATH=tests:tests/inference $(RUN)/python -m bench $(ARGS)

.PHONY: bench-offline
bench-offline: $(VENV)/.dev  ## 72 hours without a network in virtual time, twice: a quarter of an hour
	@PYTHONPATH=tests $(RUN)/python -m bench offline

clean:  ## remove what the build made
	rm -rf $(VENV) .venv-* .mypy_cache .pytest_cache .ruff_cache dist build firmware_bridge/c/build
