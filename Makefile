# SPDX-License-Identifier: GPL-2.0
#
# The commands of kaio. `make help` lists them. The module itself is described
# in Kbuild, which kbuild prefers to this file.

ENTER := scripts/buildroot exec

export KVER KAIO_ACCEL KAIO_MIRROR KAIO_PRELOAD KAIO_SECONDS PKGS CMD

# The shell's, as it was typed: a $ in it is not make's.
ifdef CMD
override CMD := $(value CMD)
endif

all: ## build kaio.ko for Debian's stock kernel; with KDIR=DIR for another
ifdef KDIR
	@scripts/module kdir "$(KDIR)"
else
	@$(ENTER) scripts/module stock
endif

run: ## boot the stock kernel and show kaio at work; CMD='fio ...': run that in it
	@$(ENTER) scripts/run $(if $(CMD),"$$CMD")

test: ## everything: KUnit suites, selftests on the stock and debug kernels
	@$(ENTER) scripts/test all

kunit: ## only the KUnit suites, in the debug kernel
	@$(ENTER) scripts/test kunit

selftests: ## only the selftests, on both kernels; T=NAME for one program
	@$(ENTER) scripts/test selftests "T=$(T)"

droptests: ## only the tests of the libraries; T=NAME for one program
	@$(ENTER) scripts/test droptests "T=$(T)"

lib: ## the libraries, to build/lib: libaio.so.1, libkaio.so.1
	@$(ENTER) scripts/lib build

install: ## libraries, headers, manual, after make lib; PREFIX=/usr/local DESTDIR=
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install

programs: ## only the tests of real programs (fio, QEMU, ...); T=NAME for one
	@$(ENTER) scripts/test programs "T=$(T)"

test-full: ## what is too long for test: ten times the work for real programs
	@$(ENTER) scripts/test full

bench: ## measure kaio beside AIO, io_uring and POSIX AIO: build/bench; BOOTS=1
	@$(ENTER) scripts/bench all "BOOTS=$(BOOTS)"

vm: ## a shell in the guest, with the module loaded; K=debug: the debug kernel
	@$(ENTER) scripts/vm shell $(K)

check: ## formatting, lints, layering
	@$(ENTER) scripts/check

clean: ## remove what was built in this checkout
	rm -rf build kaio.ko

clean-cache: ## remove the cache: the build root, the kernels
	@scripts/buildroot clean

help: ## this list
	@sed -n 's/^\([a-z-]*\): ## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14
	@printf '%s\n' '' \
		'KVER=7.2                 kernel series, or an exact release' \
		'PKGS="nginx ..."         more Debian packages for the command of run' \
		'KAIO_PRELOAD=0           run: the command without kaio, for comparison' \
		'KAIO_SECONDS=N           run: kill the command after so long (3600)' \
		'KAIO_ACCEL=kvm|tcg       how QEMU runs the guests (default: try)' \
		'KAIO_MIRROR=URL          Debian mirror (default: that of apt)' \
		'KAIO_CACHE=DIR           cache (default: ~/.cache/kaio)'

.PHONY: all run test kunit selftests droptests lib install programs test-full bench vm check clean clean-cache help
