# SPDX-License-Identifier: MIT OR Apache-2.0
# Packages, and what they must not change by accident.
#
#   make install-module         the module's sources for DKMS, udev's rule, modules-load.d
#   make uninstall-module       remove what that put there
#   make install-bpf            kdregd, where it could be built, and its systemd units
#   make uninstall-bpf          remove what that put there
#   make deb                    Debian packages, in target/deb
#   make test-packages-arm64    them for arm64, cross-built, and what lintian says;
#                               not part of make test
#   make dist                   the source archive, with the crates it is built from
#   make modulefile             for environment modules, in target/modulefiles, for PREFIX
#   make abi                    record compatible additions to the ABI in abi/

PACKAGES_TOP := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/..)

STAGES += check-abi check-consumers check-rpm check-recipes test-packages test-distribution
SPARE += check-recipes test-packages test-distribution

.PHONY: dist modulefile check-recipes test-distribution install-module uninstall-module install-bpf uninstall-bpf \
        deb abi check-abi check-consumers check-rpm test-packages test-packages-arm64

install-module uninstall-module install-bpf uninstall-bpf:
	@sh $(PACKAGES_TOP)/scripts/install.sh $@

deb: library $(if $(wildcard $(PACKAGES_TOP)/mk/bpf.mk),kdregd)
	@sh $(PACKAGES_TOP)/scripts/build-deb.sh

abi: library
	@sh $(PACKAGES_TOP)/scripts/abi.sh write

check-abi: library ## The ABI is that of abi/, or the SONAME is another
	@sh $(PACKAGES_TOP)/scripts/check-abi.sh

check-consumers: library ## CMake and meson find and link an installed library
	@sh $(PACKAGES_TOP)/scripts/check-consumers.sh

check-rpm: library $(if $(wildcard $(PACKAGES_TOP)/mk/bpf.mk),kdregd) ## The RPM specification: rpmspec, rpmlint, packages with every file
	@sh $(PACKAGES_TOP)/scripts/check-rpm.sh

test-packages: deb kernel-tree vm-prerequisites ## Packages: lintian, install, build with dkms, boot, purge
	@sh $(PACKAGES_TOP)/scripts/test-packages.sh

test-packages-arm64: arm64-programs
	@sh $(PACKAGES_TOP)/scripts/test-packages-arm64.sh

dist: ## The source archive, reproducible, with the crates it is built from
	@sh $(PACKAGES_TOP)/scripts/dist.sh

modulefile: ## A file for environment modules, in target/modulefiles, for PREFIX
	@sh $(PACKAGES_TOP)/scripts/modulefile.sh

check-recipes: ## The recipes for Spack and EasyBuild, and the module file, as far as their tools are here
	@sh $(PACKAGES_TOP)/scripts/check-recipes.sh

test-distribution: kernel-tree vm-prerequisites ## Debian's own Rust; packages from the source archive, without a network
	@sh $(PACKAGES_TOP)/scripts/test-distribution.sh
