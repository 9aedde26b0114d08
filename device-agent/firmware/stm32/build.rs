//! Gives the linker each board's map of memory.

use std::path::PathBuf;

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    for (binary, map) in [("nucleo-f446re", "memory-f446re.x"), ("nucleo-h743zi2", "memory-h743zi.x")] {
        let folder = out.join(binary);
        std::fs::create_dir_all(&folder).expect("the folder of the build can be written");
        std::fs::copy(map, folder.join("memory.x")).expect("the folder of the build can be written");
        println!("cargo:rustc-link-arg-bin={binary}=-L{}", folder.display());
        println!("cargo:rustc-link-arg-bin={binary}=-Tlink.x");
        println!("cargo:rustc-link-arg-bin={binary}=--nmagic");
        println!("cargo:rerun-if-changed={map}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=BOARDPROOF_BUILD");
}
