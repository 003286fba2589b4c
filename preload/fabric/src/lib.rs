// SPDX-License-Identifier: MIT OR Apache-2.0
//! libkdreg-fabric.so: by LD_PRELOAD, libkdreg is the memory monitor of the
//! libfabric that an unmodified program uses.
//!
//! It stands in front of `fi_getinfo`, which every such program calls first:
//! by its return libfabric is initialised, and no domain can be open yet. The
//! first call imports the monitor; nothing else is touched. When the import
//! fails, libkdreg says why (KDREG_LOG), and the program goes on as without.
//!
//! `KDREG_FABRIC_STATS=1` prints a line on standard error when the program ends.
//! Without it, one is printed when libfabric was there and its `fi_getinfo` was
//! not seen to be called (`KDREG_LOG`: at warn).

mod import;
mod kdreg;
mod libfabric;
mod statistics;
mod versions;
