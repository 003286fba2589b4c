// SPDX-License-Identifier: MIT OR Apache-2.0
//! The images of functions that mode flush has programs at the ends of: `bpf/images.h`.

use super::calls::{self, Attachment};
use super::loaded::Generation;
use super::orders;
use super::programs::{AT_ENDS, IMAGE, PROGRAMS, Part};
use anyhow::{Context as _, Result, ensure};
use libbpf_rs::{MapCore as _, MapFlags};

/// `struct ended_function`: a name.
const NAME: usize = 40;
/// `struct ended_functions`: two of them, misses.
const MISSES: usize = 2 * NAME;

/// How they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Images {
    /// One of each function: whoever is inside has its end seen.
    One,
    /// Somebody may be inside whose end is passed over, until others have gone.
    Several,
    /// One was made or gone unseen: what sees them was left out.
    Unknown,
    /// There are not as many as there have to be: they are not seen at all, or were
    /// counted when that began anew.
    Absurd,
}

/// What the kernel calls the images at a function (`bpf_trampoline_compute_key`).
fn name(object: u32, function: u32) -> String {
    let key = u64::from(object) << 32 | 0x8000_0000 | u64::from(function);
    format!("bpf_trampoline_{key}")
}

/// How often the program that sees them was left out.
fn misses(generation: &Generation) -> Result<u64> {
    let info = calls::program_info(generation.program(IMAGE)).context("what a program is")?;
    Ok(info.recursion_misses)
}

/// Before what sees them is attached: what they are called, and none has been seen.
pub fn begin(generation: &Generation) -> Result<()> {
    orders::uncount_images(generation)?;
    let images = generation.map("images");
    for address in images.keys().collect::<Vec<_>>() {
        images.delete(&address)?;
    }
    let mut value = Vec::new();
    for program in AT_ENDS {
        let info = calls::program_info(generation.program(program)).context(program)?;
        let name = name(info.attach_btf_obj_id, info.attach_btf_id);
        ensure!(name.len() < NAME, "{name} is too long");
        let mut bytes = name.into_bytes();
        bytes.resize(NAME, 0);
        value.extend(bytes);
    }
    value.extend(misses(generation)?.to_ne_bytes());
    let key = 0u32.to_ne_bytes();
    Ok(generation
        .map("ended")
        .update(&key, &value, MapFlags::ANY)?)
}

/// Has another image made of each, and one more: whoever was inside before its end was
/// seen has left when the first two are gone.
pub fn pass(generation: &Generation) -> Result<()> {
    for program in PROGRAMS.iter().filter(|program| program.part == Part::Pass) {
        let (_, target) = program.target.expect("they are for functions");
        let link = calls::attach(generation.program(program.name), Attachment::Entry)
            .with_context(|| format!("cannot attach a program to {target} for a moment"))?;
        // Its number is nobody's who would be missed.
        drop(link);
    }
    Ok(())
}

/// How they are now; of no interest before somebody depends on them.
pub fn look(generation: &Generation) -> Result<Images> {
    let images = orders::images(generation)?;
    if !images.depended_on {
        return Ok(Images::One);
    }
    Ok(match have_been_missed(generation)? {
        true => Images::Unknown,
        false => count(images.of),
    })
}

/// The same. If there is one of each, and from then on, the guard is held when another
/// is made.
pub fn depend(generation: &Generation) -> Result<Images> {
    // One that is missed behind this has the guard held in any case, and is found then.
    if have_been_missed(generation)? {
        return Ok(Images::Unknown);
    }
    Ok(count(orders::depend_on_images(generation)?.of))
}

fn have_been_missed(generation: &Generation) -> Result<bool> {
    let value = generation.element("ended")?;
    let before = value.get(MISSES..).and_then(|bytes| bytes.first_chunk());
    let before = u64::from_ne_bytes(*before.context("`ended` is too short")?);
    Ok(misses(generation)? != before)
}

/// As many as the map holds, at most; and one at least, once they were made.
fn count(of: [u64; 2]) -> Images {
    match of {
        [1, 1] => Images::One,
        [1..=256, 1..=256] => Images::Several,
        _ => Images::Absurd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_told() {
        assert_eq!(count([1, 1]), Images::One);
        assert_eq!(count([1, 3]), Images::Several);
        for other in [[0, 1], [1, 0], [u64::MAX, 1]] {
            assert_eq!(count(other), Images::Absurd);
        }
    }

    #[test]
    fn images_are_called_by_the_kernels_key() {
        assert_eq!(name(1, 0x1234), "bpf_trampoline_6442455604");
        assert!(name(u32::MAX, u32::MAX).len() < NAME);
    }
}
