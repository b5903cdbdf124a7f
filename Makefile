# Thin: CMake builds, scripts/table runs an experiment, data/fetch brings its data. `make help` lists the rest.
BUILD ?= build
JOBS ?= $(shell nproc)
export PTQ ?= $(BUILD)/ptq
# Settings of table and table1, passed on by the environment: whatever they hold, no shell reads it.
export CLAIMS FILES REPORT NAME MODEL TEXT CALIB BITS GROUP WINDOW WINDOWS CALIB_WINDOW CALIB_WINDOWS SEED THREADS OUT QUICK

MAKEFLAGS += --no-print-directory
# A misspelt setting, or one that the goal has no use for, would run something else for minutes. (make writes a space of
# a value as "\ ".)
SETTINGS := MODEL TEXT CALIB BITS GROUP WINDOW WINDOWS CALIB_WINDOW CALIB_WINDOWS SEED THREADS QUICK
KNOWN_table := NAME OUT $(SETTINGS)
KNOWN_table1 := OUT $(SETTINGS)
KNOWN_tables := OUT $(SETTINGS)
KNOWN_claims := CLAIMS $(SETTINGS)
KNOWN_report := CLAIMS FILES REPORT QUICK
KNOWN_fuzz := T TARGETS
KNOWN := $(foreach goal,$(MAKECMDGOALS),$(KNOWN_$(goal)))
ifneq ($(KNOWN),)
KNOWN += BUILD JOBS PTQ CMAKE_FLAGS
UNKNOWN := $(filter-out $(KNOWN),$(foreach w,$(subst \ ,,$(MAKEOVERRIDES)),$(if $(findstring =,$w),$(firstword $(subst =, ,$w)))))
$(if $(UNKNOWN),$(error make $(MAKECMDGOALS) knows no $(UNKNOWN); it knows $(KNOWN)))
endif

# Nor is anything installed and built before a missing name is told.
EXPERIMENTS := $(notdir $(basename $(wildcard experiments/*.yaml)))
ifneq ($(filter table,$(MAKECMDGOALS)),)
$(if $(filter $(EXPERIMENTS),$(NAME)),,$(error make table needs NAME=, one of: $(EXPERIMENTS)))
endif

.PHONY: build command configure table table1 tables claims test fuzz torture coverage mutate mutate-barriers races plots report clean help
.DEFAULT_GOAL := build

# What a goal needs is installed at once, before anything is built; and asked for again in its own recipe, since of two
# goals in one call `configure` knows the first one's alone.
DEPS := build
table table1 tables claims: DEPS := build fetch plot
plots: DEPS := build plot
report: DEPS := build report
torture: DEPS := build ci
INSTALL = @scripts/install-deps $(DEPS:%=--for %)

build: configure
	@cmake --build $(BUILD) --parallel $(JOBS)

command: configure # ptq alone, without the tests
	@cmake --build $(BUILD) --parallel $(JOBS) --target ptq

configure:
	$(INSTALL)
	@test -f $(BUILD)/Makefile || cmake -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=Release $(CMAKE_FLAGS)

table: command
	$(INSTALL)
	@scripts/table

table1: command
	$(INSTALL)
	@NAME=table1 scripts/table

tables: command # all of them; QUICK=1 is the quick form
	$(INSTALL)
	@scripts/tables

claims: command
	$(INSTALL)
	@scripts/claims

test:
	@scripts/install-deps --for test
	@$(MAKE) build
	@ctest --test-dir $(BUILD) --output-on-failure --parallel $(JOBS)

# The long forms of what the tests do briefly; docs/reliability.md has their last results.
T ?= 600
fuzz: # T=seconds for each target, TARGETS="gguf results" for some
	@scripts/install-deps --for ci
	@tests/fuzz/run $(BUILD)-fuzz $(T) $(TARGETS)

torture: build
	$(INSTALL)
	@PTQ_MUST_RUN=1 PTQ_TORTURE=long ctest --test-dir $(BUILD) --output-on-failure -R '^(faults|signals|sweep|allocations|limits)$$' --timeout 36000

coverage: # lines and branches that the tests run: $(BUILD)-coverage/coverage.txt and .html
	@scripts/install-deps --for ci
	@tests/coverage $(BUILD)-coverage

mutate: # changes of one token each (tests/mutate.py), which the tests must notice
	@scripts/install-deps --for test
	@tests/mutate.py $(BUILD)-mutate

mutate-barriers: # each barrier taken out of the kernels, which the tests must miss but for those that the script names
	@scripts/install-deps --for test
	@tests/mutate_barriers.py $(BUILD)-mutate

# gcc 12's ThreadSanitizer does not start where a kernel scatters mappings over 32 bits (vm.mmap_rnd_bits).
FIXED_PLACES = $(shell setarch -R true 2>/dev/null && echo setarch -R)
RACING := cuda cuda_decode cuda_packed device_solver
races: # the kernels over the emulated device, with ThreadSanitizer: what only a shuffle orders, or luck
	@scripts/install-deps --for test
	@cmake -S . -B $(BUILD)-races -DPTQ_RACES=ON -DPTQ_CUDA=OFF $(CMAKE_FLAGS) >/dev/null
	@cmake --build $(BUILD)-races --parallel $(JOBS) --target $(RACING:%=test_%)
	@$(FIXED_PLACES) ctest --test-dir $(BUILD)-races --output-on-failure -R "^($$(echo $(RACING) | tr ' ' '|'))$$"

plots: command
	$(INSTALL)
	@for file in results/*.h5; do \
	    test -f "$$file" || { echo "results/ holds no .h5 file yet: run make table1"; exit 1; }; \
	    $(PTQ) plot "$$file" -o "results/plots/$$(basename "$$file" .h5)" || exit 1; \
	done

# One page, HTML and PDF, of all results; REPORT=a folder, FILES="FILE.h5..." others.
report: command
	$(INSTALL)
	@scripts/report

clean:
	rm -rf $(BUILD)

help:
	@echo "make            build $(BUILD)/ptq and the tests;  make command: $(BUILD)/ptq alone"
	@echo "make table1     fetch the default model and texts, run Table 1, print it, plot it"
	@echo "                MODEL=a folder, a .gguf, a name of data/MANIFEST or ORG/NAME of the hub"
	@echo "                TEXT=, CALIB=a file or a name; BITS=3 GROUP=64 WINDOWS=40 SEED=0 THREADS=2 OUT=results/NAME.h5"
	@echo "                WINDOW=1024, of a model that has fewer positions than the experiment's 2048; CALIB_WINDOW=256"
	@echo "                CALIB_WINDOWS=16, of one that has fewer than 512, or of a short calibration text"
	@echo "make table NAME=awq-table4    another experiment of experiments/, the same settings; QUICK=1: its quick form"
	@echo "make tables     all the papers' tables and the sweeps, with pictures; QUICK=1: 76 cells, 17 minutes on two quiet cores"
	@echo "                of a Zen 5, some 36 on an older machine (docs/decisions.md)"
	@echo "make claims     what the two articles claim, each with a verdict: results/claims.md, in full; QUICK=1: the quick form"
	@echo "                CLAIMS=a file of your own, of experiments/NAME.yaml: results/claims-FILE.md"
	@echo "make test       build and run the tests"
	@echo "make fuzz       fuzz every reader, packer and quantiser with clang, T=600 seconds each"
	@echo "make torture    every allocation, write and rename fails in turn; kills, signals, full disks: hours"
	@echo "make coverage   lines and branches that the tests run;  make mutate, mutate-barriers: do the tests notice a wrong token, a missing barrier?"
	@echo "make races      do kernels order what their threads write and read?"
	@echo "make plots      draw results/*.h5 again"
	@echo "make report     results/*.h5 as one page: results/report/report.html and .pdf; QUICK=1, FILES=, REPORT=a folder, CLAIMS=a file"
	@echo "make clean      remove $(BUILD)/ (results and the cache stay)"
