// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much one user, and all together, may have.

/// Bounds, of clients and of the kernel's memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients of all users.
    pub clients: u32,
    /// Clients of one user. Root has no bound but that of all.
    pub user_clients: u32,
    /// Memory of one user's clients.
    pub user_memory: u64,
    /// Entries of a log whose client does not care.
    pub default_capacity: u32,
    /// Entries of the largest log.
    pub max_capacity: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            clients: 16384,
            user_clients: 4096,
            user_memory: 1 << 30,
            default_capacity: kdreg::monitor::bpf::abi::LOG_DEFAULT_CAPACITY,
            max_capacity: 1 << 16,
        }
    }
}

impl Limits {
    /// The entries of a log for a client that asks for so many; 0: it does not care.
    pub fn capacity(&self, wanted: u32) -> u32 {
        let wanted = if wanted == 0 {
            self.default_capacity
        } else {
            wanted
        };
        let least = *kdreg::monitor::bpf::abi::LOG_CAPACITY.start();
        wanted
            .clamp(least, self.max_capacity)
            .next_power_of_two()
            .min(self.max_capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn capacities_are_powers_of_two_within_bounds() {
        let limits = Limits::default();
        assert_eq!(limits.capacity(0), 2048);
        assert_eq!(limits.capacity(1), 64);
        assert_eq!(limits.capacity(65), 128);
        assert_eq!(limits.capacity(u32::MAX), 1 << 16);
    }
}
