//! Compiles the engine: with the C compiler of the target that is built for. For the boards that is `arm-none-eabi-gcc`, or what
//! `CC_thumbv7em_none_eabihf` names (`clang` needs no more than `CFLAGS_thumbv7em_none_eabihf=--target=thumbv7em-none-eabihf`).

fn main() {
    println!("cargo:rerun-if-changed=c/engine.c");
    println!("cargo:rerun-if-changed=c/engine.h");
    cc::Build::new()
        .file("c/engine.c")
        .include("c")
        .std("c99")
        .warnings(true)
        .flag_if_supported("-ffreestanding")
        .compile("engine");
}
