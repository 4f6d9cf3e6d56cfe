//! Gives the forward declarations in a `.BTF` section one order.
//!
//! LLVM numbers them in the order of the addresses of its own heap objects, so the same sources built in a folder
//! with a longer name come out with two declarations swapped, and a byte comparison fails. Sorting them by name
//! makes the object a function of its sources.

use anyhow::{Context, Result, bail};

const FWD: u32 = 7;

/// One type record: where it starts, its kind and the number of entries behind it.
struct Record {
    at: usize,
    kind: u32,
    entries: usize,
}

/// Sorts the forward declarations (and the names they brought into the string table) by name, in place.
pub fn canonical(btf: &mut [u8]) -> Result<()> {
    let header = word(btf, 4)? as usize;
    let (types, types_len) = (header + word(btf, 8)? as usize, word(btf, 12)? as usize);
    let (strings, strings_len) = (header + word(btf, 16)? as usize, word(btf, 20)? as usize);
    let records = records(btf, types, types + types_len)?;
    let forward: Vec<usize> = (0..records.len()).filter(|&i| records[i].kind == FWD).collect();

    let mut sorted = forward.clone();
    let name_of = |i: usize| -> Result<Vec<u8>> {
        let offset = word(btf, records[i].at)? as usize;
        if offset >= strings_len {
            bail!("a BTF name lies outside the string table");
        }
        Ok(string(&btf[strings..strings + strings_len], offset).to_vec())
    };
    let mut names = std::collections::BTreeMap::new();
    for &i in &forward {
        names.insert(i, (name_of(i)?, word(btf, records[i].at + 4)?));
    }
    sorted.sort_by(|a, b| names[a].cmp(&names[b]));

    // Type ids count from 1. The declaration that was `sorted[n]` takes the id of `forward[n]`.
    let mut new_id: Vec<u32> = (0..=records.len() as u32).collect();
    for (place, old) in forward.iter().zip(&sorted) {
        new_id[old + 1] = *place as u32 + 1;
    }
    let moved: Vec<[u8; 12]> =
        sorted.iter().map(|&i| btf[records[i].at..][..12].try_into().expect("12 bytes")).collect();
    for (&place, bytes) in forward.iter().zip(&moved) {
        btf[records[place].at..][..12].copy_from_slice(bytes);
    }

    let offsets = names.keys().map(|&i| word(btf, records[i].at)).collect::<Result<Vec<u32>>>()?;
    let new_name = sort_strings(&mut btf[strings..strings + strings_len], offsets);
    for record in &records {
        rewrite(btf, record, &new_id, &new_name)?;
    }
    Ok(())
}

/// Sorts the strings at `offsets` wherever some of them lie side by side; returns the moves as (old, new) offsets.
fn sort_strings(table: &mut [u8], mut offsets: Vec<u32>) -> Vec<(u32, u32)> {
    offsets.sort_unstable();
    offsets.dedup();
    let mut moves = Vec::new();
    let mut rest = offsets.as_slice();
    while let Some(&first) = rest.first() {
        let mut end = first as usize;
        let mut run = 0;
        while rest.get(run).is_some_and(|&offset| offset as usize == end) {
            end += string(table, end).len() + 1;
            run += 1;
        }
        let mut run_strings: Vec<(Vec<u8>, u32)> =
            rest[..run].iter().map(|&offset| (string(table, offset as usize).to_vec(), offset)).collect();
        run_strings.sort();
        let mut at = first as usize;
        for (bytes, old) in run_strings {
            table[at..at + bytes.len()].copy_from_slice(&bytes);
            table[at + bytes.len()] = 0;
            moves.push((old, at as u32));
            at += bytes.len() + 1;
        }
        rest = &rest[run..];
    }
    moves
}

fn records(btf: &[u8], mut at: usize, end: usize) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    while at < end {
        let info = word(btf, at + 4)?;
        let record = Record { at, kind: info >> 24 & 0x1f, entries: (info & 0xffff) as usize };
        at += 12 + extra(&record)?;
        records.push(record);
    }
    Ok(records)
}

/// Bytes behind the 12 that every record has.
fn extra(record: &Record) -> Result<usize> {
    Ok(match record.kind {
        2 | FWD..=12 | 16 | 18 => 0,
        1 | 14 | 17 => 4,
        3 => 12,
        4 | 5 | 15 | 19 => record.entries * 12,
        6 | 13 => record.entries * 8,
        kind => bail!("BTF kind {kind} is not known to xtask/src/btf.rs; add it there"),
    })
}

/// Rewrites the type ids and name offsets that one record holds.
fn rewrite(btf: &mut [u8], record: &Record, ids: &[u32], names: &[(u32, u32)]) -> Result<()> {
    let Record { at, kind, entries } = *record;
    let name = |btf: &mut [u8], at: usize| -> Result<()> {
        let old = word(btf, at)?;
        let new = names.iter().find(|(from, _)| *from == old).map_or(old, |(_, to)| *to);
        put(btf, at, new);
        Ok(())
    };
    let id = |btf: &mut [u8], at: usize| -> Result<()> {
        let old = word(btf, at)? as usize;
        put(btf, at, *ids.get(old).context("a BTF type id is out of range")?);
        Ok(())
    };
    name(btf, at)?;
    // The third word is a type id in the kinds that refer to one type, a size or nothing in the others.
    if matches!(kind, 2 | 8..=14 | 17 | 18) {
        id(btf, at + 8)?;
    }
    let body = at + 12;
    match kind {
        3 => {
            id(btf, body)?;
            id(btf, body + 4)?;
        }
        4 | 5 => {
            for entry in (0..entries).map(|i| body + i * 12) {
                name(btf, entry)?;
                id(btf, entry + 4)?;
            }
        }
        6 => (0..entries).try_for_each(|i| name(btf, body + i * 8))?,
        13 => {
            for entry in (0..entries).map(|i| body + i * 8) {
                name(btf, entry)?;
                id(btf, entry + 4)?;
            }
        }
        15 => (0..entries).try_for_each(|i| id(btf, body + i * 12))?,
        19 => (0..entries).try_for_each(|i| name(btf, body + i * 12))?,
        _ => {}
    }
    Ok(())
}

fn word(btf: &[u8], at: usize) -> Result<u32> {
    let bytes = btf.get(at..at + 4).context("the .BTF section is cut short")?;
    Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
}

fn put(btf: &mut [u8], at: usize, value: u32) {
    btf[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn string(table: &[u8], offset: usize) -> &[u8] {
    let rest = &table[offset..];
    &rest[..rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section with the given records and strings behind a version 1 header.
    fn section(words: &[u32], strings: &[u8]) -> Vec<u8> {
        let types = words.len() as u32 * 4;
        let header = [0x0001_eb9f, 24, 0, types, types, strings.len() as u32];
        let mut out: Vec<u8> = header.iter().chain(words).flat_map(|word| word.to_le_bytes()).collect();
        out.extend_from_slice(strings);
        out
    }

    /// Two forward declarations, and a pointer to each: what they were called, in which order they stand.
    fn two(first: &str, second: &str, pointers: [u32; 2]) -> Vec<u8> {
        let strings = format!("\0{first}\0{second}\0tail\0");
        let (one, two) = (1, 2 + first.len() as u32);
        let (fwd, ptr) = (FWD << 24, 2 << 24);
        section(&[one, fwd, 0, two, fwd, 0, 0, ptr, pointers[0], 0, ptr, pointers[1]], strings.as_bytes())
    }

    #[test]
    fn two_orders_of_the_same_declarations_become_one() {
        let mut ordered = two("alpha", "beta_long", [1, 2]);
        let mut swapped = two("beta_long", "alpha", [2, 1]);
        assert_ne!(ordered, swapped);
        canonical(&mut ordered).unwrap();
        canonical(&mut swapped).unwrap();
        assert_eq!(ordered, swapped);
    }

    #[test]
    fn a_section_in_order_stays_as_it_is() {
        let before = two("alpha", "beta_long", [1, 2]);
        let mut after = before.clone();
        canonical(&mut after).unwrap();
        assert_eq!(before, after);
    }

    #[test]
    fn a_cut_section_is_an_error() {
        assert!(canonical(&mut two("a", "b", [1, 2])[..30]).is_err());
    }
}
