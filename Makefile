# SPDX-License-Identifier: GPL-2.0
#
# The commands of kaio. `make help` lists them. The module itself is described
# in Kbuild, which kbuild prefers to this file.

ENTER := scripts/buildroot exec

# A build for another kernel's tree has the ARCH= of that tree.
export KAIO_ARCH = $(if $(KDIR),,$(ARCH))
export KVER KFLAVOUR KAIO_ACCEL KAIO_MIRROR KAIO_PRELOAD KAIO_SECONDS PKGS CMD

# The shell's, as it was typed: a $ in it is not make's.
ifdef CMD
override CMD := $(value CMD)
endif

all: ## build kaio.ko for Debian's stock kernel; with KDIR=DIR for another
ifdef KDIR
	@scripts/module kdir "$(KDIR)"
else
	@$(ENTER) scripts/module top
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

tools: ## the programs for users, to build/tools: kaio-run, kaio-stat
	@$(ENTER) scripts/tools build

tools-test: ## the tests of these programs, which need no device and no guest
	@$(ENTER) scripts/tools test

install: ## libraries, tools, headers, manual, after make lib tools; PREFIX=/usr/local LIBDIR= DESTDIR=
	@PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" DESTDIR="$(DESTDIR)" scripts/install

uninstall: ## remove what install has installed, with the same PREFIX, LIBDIR and DESTDIR
	@PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" DESTDIR="$(DESTDIR)" scripts/install uninstall

modules_install: ## kaio.ko, for the kernel that it was built for; INSTALL_MOD_PATH= KO=FILE
	@INSTALL_MOD_PATH="$(INSTALL_MOD_PATH)" DESTDIR="$(DESTDIR)" scripts/install module "$(KO)"

deb: ## Debian's packages, to build/deb: kaio-dkms, libkaio1, libkaio-dev, kaio-tools
	@$(ENTER) scripts/deb build

package-test: ## install and remove these packages in a Debian of their own; no guest
	@$(ENTER) scripts/package-test

models: ## check the state machines in user space, in every interleaving; no guest
	@$(ENTER) scripts/models test

programs: ## only the tests of real programs (fio, QEMU, ...); T=NAME for one
	@$(ENTER) scripts/test programs "T=$(T)"

test-kernels: ## selftests on every series and flavour, and a table; ROWS="7.3/rt-amd64/stock ..."
	@$(ENTER) scripts/test kernels "ROWS=$(ROWS)"

test-full: ## what is too long for test: ten times the work for real programs
	@$(ENTER) scripts/test full

bench: ## measure kaio beside AIO, io_uring and POSIX AIO: build/bench; BOOTS=1
	@$(ENTER) scripts/bench all "BOOTS=$(BOOTS)"

vm: ## a shell in the guest, with the module loaded; K=debug: the debug kernel
	@$(ENTER) scripts/vm shell $(K)

doc: ## the source's documentation, by rustdoc, to build/doc
	@$(ENTER) scripts/doc all

check: ## formatting, lints, layering
	@$(ENTER) scripts/check

clean: ## remove what was built in this checkout
	rm -rf build kaio.ko

clean-cache: ## remove the cache: the build root, the kernels
	@scripts/buildroot clean

help: ## this list
	@sed -n 's/^\([a-z_-]*\): ## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 17
	@printf '%s\n' '' \
		'KVER=7.2                 kernel series, or an exact release' \
		'KFLAVOUR=rt-amd64        flavour of Debian'"'"'s kernel: cloud-amd64 (default), amd64, rt-amd64' \
		'ARCH=arm64               cross-build for Debian'"'"'s arm64 kernel: all, lib, selftests, droptests, vm' \
		'PKGS="nginx ..."         more Debian packages for the command of run' \
		'KAIO_PRELOAD=0           run: the command without kaio, for comparison' \
		'KAIO_SECONDS=N           run: kill the command after so long (3600)' \
		'KAIO_ACCEL=kvm|tcg       how QEMU runs the guests (default: try)' \
		'KAIO_MIRROR=URL          Debian mirror (default: that of apt)' \
		'KAIO_CACHE=DIR           cache (default: ~/.cache/kaio)'

.PHONY: all run test kunit selftests droptests lib tools tools-test install uninstall modules_install deb package-test models programs test-kernels test-full bench vm doc check clean clean-cache help
