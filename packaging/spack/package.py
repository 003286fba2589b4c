# SPDX-License-Identifier: MIT OR Apache-2.0
# A recipe for Spack 1.0 or later, for a repository of one's own: packages/libkdreg/package.py.
# make dist puts the checksum of the archive in; the archive lies where spack is
# run, or in a mirror.
import os

from spack_repo.builtin.build_systems.makefile import MakefilePackage

from spack.package import *


class Libkdreg(MakefilePackage):
    """A registration (pin-down) cache for RDMA and MPI libraries that cannot go
    stale, and the memory monitor it stands on."""

    manual_download = True
    url = f"file://{os.getcwd()}/libkdreg-@VERSION@.tar.gz"

    license("MIT OR Apache-2.0", checked_by="libkdreg")

    version("@VERSION@", sha256="@SHA256@")

    variant("verbs", default=True, description="kdreg_bw over verbs")

    depends_on("c", type="build")
    depends_on("gmake", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("binutils", type="build")
    depends_on("rust@1.85:", type="build")
    # Its headers: libibverbs is opened when it is used.
    depends_on("rdma-core", type="build", when="+verbs")

    requires("platform=linux")

    build_targets = ["library"]

    def install(self, spec, prefix):
        make("install", f"PREFIX={prefix}")

    @run_after("install")
    @on_package_attributes(run_tests=True)
    def check_install(self):
        Executable(self.prefix.bin.kdreg_info)("--version")
