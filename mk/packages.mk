# SPDX-License-Identifier: MIT OR Apache-2.0
# Packages, and what they must not change by accident.
#
#   make install-module         the module's sources for DKMS, udev's rule, modules-load.d
#   make deb                    Debian packages, in target/deb
#   make abi                    record compatible additions to the ABI in abi/

PACKAGES_TOP := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/..)

STAGES += check-abi test-packages

.PHONY: install-module deb abi check-abi test-packages

install-module:
	@sh $(PACKAGES_TOP)/scripts/install.sh install-module

deb: library
	@sh $(PACKAGES_TOP)/scripts/build-deb.sh

abi: library
	@sh $(PACKAGES_TOP)/scripts/abi.sh write

check-abi: library ## The ABI is that of abi/, or the SONAME is another
	@sh $(PACKAGES_TOP)/scripts/abi.sh check

test-packages: deb kernel-tree vm-prerequisites ## Packages: lintian, install, build with dkms, boot, purge
	@sh $(PACKAGES_TOP)/scripts/test-packages.sh
