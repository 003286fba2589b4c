// SPDX-License-Identifier: MIT OR Apache-2.0
//! The small programs that the machine runs: one list of operations for each
//! thread, over a few registers and a few places in memory.

/// What registers and memory hold.
pub type Value = i16;

/// A register of one thread.
pub type Register = u8;

/// A place in memory, which all threads have in common.
pub type Place = u8;

/// Registers a thread has.
pub const REGISTERS: usize = 10;

/// What an operation takes: a number, or what a register holds.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    Number(Value),
    Register(Register),
}

impl From<Value> for Source {
    fn from(number: Value) -> Source {
        Source::Number(number)
    }
}

/// A register as a source.
pub fn held(register: Register) -> Source {
    Source::Register(register)
}

/// Where an access goes: a place, and what is to be added to it. An address
/// that depends on a register orders the access after what the register waits
/// for, as the architecture says.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    pub place: Place,
    pub plus: Source,
}

impl From<Place> for Address {
    fn from(place: Place) -> Address {
        Address {
            place,
            plus: Source::Number(0),
        }
    }
}

/// What an update makes of the value it finds; `None` leaves it.
pub type Change = fn(found: Value, operand: Value) -> Option<Value>;

/// What a step of arithmetic makes of two values.
pub type Function = fn(Value, Value) -> Value;

/// One operation. Orders are those of the source language, as its compilers
/// translate them for ARMv8: an acquiring load is LDAPR, the weaker of the two
/// that they may use; a compiler fence is no operation at all.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Load {
        into: Register,
        at: Address,
        acquire: bool,
    },
    Store {
        at: Address,
        value: Source,
        release: bool,
    },
    /// An atomic read-modify-write as a pair of exclusive accesses, which allows
    /// more than a single instruction does: what follows may come between them.
    Update {
        /// Gets what was found.
        into: Register,
        at: Address,
        operand: Source,
        change: Change,
        acquire: bool,
        release: bool,
    },
    /// `fence(SeqCst)`: DMB ISH.
    Fence,
    /// `fence(Acquire)`: DMB ISHLD.
    FenceLoads,
    /// membarrier(2): a full fence in every thread, in each at a time of its own
    /// between beginning and end.
    Membarrier,
    Compute {
        into: Register,
        from: [Source; 2],
        function: Function,
    },
    /// Goes on at `to` unless the register holds 0.
    Branch { on: Register, to: usize },
}

/// A thread's operations, and how to write them down.
#[derive(Clone, Default, Debug)]
pub struct Code(pub Vec<Operation>);

impl Code {
    pub fn load(&mut self, into: Register, at: impl Into<Address>) {
        self.load_as(into, at, false);
    }

    pub fn load_acquire(&mut self, into: Register, at: impl Into<Address>) {
        self.load_as(into, at, true);
    }

    pub fn load_as(&mut self, into: Register, at: impl Into<Address>, acquire: bool) {
        let at = at.into();
        self.0.push(Operation::Load { into, at, acquire });
    }

    pub fn store(&mut self, at: impl Into<Address>, value: impl Into<Source>) {
        self.store_as(at, value, false);
    }

    pub fn store_release(&mut self, at: impl Into<Address>, value: impl Into<Source>) {
        self.store_as(at, value, true);
    }

    pub fn store_as(&mut self, at: impl Into<Address>, value: impl Into<Source>, release: bool) {
        self.0.push(Operation::Store {
            at: at.into(),
            value: value.into(),
            release,
        });
    }

    /// An update with the orders `(acquire, release)`.
    pub fn update(
        &mut self,
        into: Register,
        at: impl Into<Address>,
        operand: impl Into<Source>,
        change: Change,
        (acquire, release): (bool, bool),
    ) {
        self.0.push(Operation::Update {
            into,
            at: at.into(),
            operand: operand.into(),
            change,
            acquire,
            release,
        });
    }

    /// What another code does, afterwards.
    pub fn append(&mut self, other: Code) {
        let start = self.0.len();
        self.0
            .extend(other.0.into_iter().map(|operation| match operation {
                Operation::Branch { on, to } => Operation::Branch { on, to: start + to },
                operation => operation,
            }));
    }

    pub fn fence(&mut self) {
        self.0.push(Operation::Fence);
    }

    pub fn fence_loads(&mut self) {
        self.0.push(Operation::FenceLoads);
    }

    /// `barrier::heavy`.
    pub fn heavy(&mut self) {
        self.fence();
        self.0.push(Operation::Membarrier);
        self.fence();
    }

    pub fn compute(
        &mut self,
        into: Register,
        first: impl Into<Source>,
        second: impl Into<Source>,
        function: Function,
    ) {
        self.0.push(Operation::Compute {
            into,
            from: [first.into(), second.into()],
            function,
        });
    }

    pub fn set(&mut self, into: Register, value: impl Into<Source>) {
        self.compute(into, value, 0, |value, _| value);
    }

    /// What `then` writes is done only if `holds` of the two values; `test` is a
    /// register that nothing else uses.
    pub fn when(
        &mut self,
        test: Register,
        first: impl Into<Source>,
        second: impl Into<Source>,
        fails: Function,
        then: impl FnOnce(&mut Code),
    ) {
        self.compute(test, first, second, fails);
        let branch = self.0.len();
        self.0.push(Operation::Branch { on: test, to: 0 });
        then(self);
        self.0[branch] = Operation::Branch {
            on: test,
            to: self.0.len(),
        };
    }

    /// Loads until the value is what is waited for.
    pub fn wait_until(
        &mut self,
        into: Register,
        at: impl Into<Address>,
        acquire: bool,
        (test, value): (Register, Value),
        again: Function,
    ) {
        let start = self.0.len();
        self.load_as(into, at, acquire);
        self.compute(test, held(into), value, again);
        self.0.push(Operation::Branch {
            on: test,
            to: start,
        });
    }
}

/// 1 where two values differ, else 0.
pub fn differ(first: Value, second: Value) -> Value {
    Value::from(first != second)
}

/// 1 where two values are the same, else 0.
pub fn same(first: Value, second: Value) -> Value {
    Value::from(first == second)
}
