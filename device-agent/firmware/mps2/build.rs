//! Each board has its own map of memory.

use std::path::PathBuf;

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    // The AN500 has its 16 MB elsewhere.
    let boards = [
        ("mps2-an385", 0x2100_0000_u32, "16M"),
        ("mps2-an386", 0x2100_0000, "16M"),
        ("mps2-an386-small", 0x2100_0000, "48K"),
        ("mps2-an386-broken", 0x2100_0000, "16M"),
        ("mps2-an500", 0x6000_0000, "16M"),
        ("mps2-an386-own-engine", 0x2100_0000, "16M"),
        ("size-empty", 0x2100_0000, "16M"),
        ("size-link", 0x2100_0000, "16M"),
    ];
    for (binary, psram, length) in boards {
        let folder = out.join(binary);
        std::fs::create_dir_all(&folder).expect("the folder of the build can be written");
        let map = include_str!("memory.x").replace("PSRAM_ORIGIN", &format!("{psram:#x}"));
        let map = map.replace("PSRAM_LENGTH", length);
        std::fs::write(folder.join("memory.x"), map).expect("the folder of the build can be written");
        println!("cargo:rustc-link-arg-bin={binary}=-L{}", folder.display());
        println!("cargo:rustc-link-arg-bin={binary}=-Tlink.x");
        println!("cargo:rustc-link-arg-bin={binary}=--nmagic");
    }
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=BOARDPROOF_BUILD");
}
