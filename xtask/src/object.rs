//! From the linker's output to the bytes that are committed: no DWARF, and nothing that hangs on the linker's heap.

use anyhow::{Context, Result};
use object::build::elf::{Builder, SectionData};

/// Drops debug sections (DWARF holds most of the size and is not loaded; BTF stays) and what would be needed to link
/// BTF again (loaders take the values in place), and puts BTF in one order.
pub fn finish(linked: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(linked).context("the linker's output is not an ELF object")?;
    for section in &mut elf.sections {
        let name = section.name.to_string();
        section.delete = [".debug_", ".rel.debug_", ".rel.BTF"].iter().any(|kind| name.starts_with(kind));
        if name == ".BTF"
            && let SectionData::Data(data) = &mut section.data
        {
            crate::btf::canonical(data.to_mut())?;
        }
    }
    elf.delete_orphans();
    // LLVM keeps section and symbol names in one table; the writer wants two.
    let names = elf.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut out = Vec::new();
    elf.write(&mut out).context("cannot write the stripped object")?;
    Ok(out)
}
