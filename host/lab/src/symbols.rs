//! Names of a firmware's functions, by their addresses.

use object::{Object, ObjectSymbol, SymbolKind};

/// Functions of a program; none where nothing is known.
#[derive(Debug, Clone, Default)]
pub struct Symbols {
    /// First address, bytes and name, by address.
    functions: Vec<(u64, u64, String)>,
}

impl Symbols {
    /// The functions that an ELF file names; none where it is no such file, or was stripped.
    pub fn of(elf: &[u8]) -> Self {
        let Ok(file) = object::File::parse(elf) else { return Self::default() };
        let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
        let mut functions: Vec<_> = functions
            .filter_map(|symbol| {
                let name = rustc_demangle::demangle(symbol.name().ok()?);
                // The lowest bit says that it is Thumb code, and is no part of the address.
                Some((symbol.address() & !1, symbol.size(), format!("{name:#}")))
            })
            .collect();
        functions.sort();
        Self { functions }
    }

    /// An address with the function that it lies in, where that is known.
    pub fn place(&self, address: u32) -> String {
        let after = self.functions.partition_point(|(first, ..)| *first <= u64::from(address));
        let found = after.checked_sub(1).map(|index| &self.functions[index]);
        match found.filter(|(first, bytes, _)| u64::from(address) < first + bytes) {
            Some((_, _, name)) => format!("{address:#010x} in {name}"),
            None => format!("{address:#010x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_with_its_function() {
        let symbols = Symbols { functions: vec![(0x100, 0x10, "a".into()), (0x200, 0x20, "b::c".into())] };
        for (address, expected) in [
            (0xff, "0x000000ff"),
            (0x100, "0x00000100 in a"),
            (0x10f, "0x0000010f in a"),
            (0x110, "0x00000110"),
            (0x21f, "0x0000021f in b::c"),
            (u32::MAX, "0xffffffff"),
        ] {
            assert_eq!(symbols.place(address), expected);
        }
        assert_eq!(Symbols::of(b"no program").place(0x100), "0x00000100");
    }

    #[test]
    fn this_programs_own_functions_are_named() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let named = Symbols::of(&own).functions;
        assert!(named.iter().any(|(.., name)| name.contains("this_programs_own_functions_are_named")));
    }
}
