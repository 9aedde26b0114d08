//! Looks for one thing of this machine at a time.

use super::Finding;
use boardproof_lab::build::{OWN_COMPILER, Tools, in_path};
use boardproof_record::plan::{Builder, Target};
use std::path::Path;
use std::process::{Command, Stdio};

/// The command that gets the target's packages.
pub fn packages(target: &Target) -> String {
    match target.build.packages.as_slice() {
        [] => format!("whatever gives it on this system ({} names no packages)", target.name),
        names => format!("apt-get install {}", names.join(" ")),
    }
}

/// The command that gets one package: that of all the target's, where it is among them, so that one line gets everything.
pub fn package(target: &Target, name: &str) -> String {
    let among = target.build.packages.iter().any(|package| package == name);
    if among { packages(target) } else { format!("apt-get install {name}") }
}

/// A tool that must be there; what it says first to this question is its version.
pub fn tool(program: &str, question: &[&str], get: &str) -> Finding {
    Finding {
        what: program.into(),
        found: version(Command::new(program).args(question)),
        needed: true,
        get: get.into(),
    }
}

/// A tool that has no question to ask it.
pub fn present(program: &str, get: &str) -> Finding {
    let found = in_path(program).map(|path| path.display().to_string()).ok_or_else(|| NOT_THERE.into());
    Finding { what: program.into(), found, needed: true, get: get.into() }
}

/// A part of the Rust toolchain that the source asks for.
pub fn rust(program: &str, root: &Path) -> Finding {
    let found = version(Command::new(program).arg("--version").current_dir(root));
    Finding { what: program.into(), found, needed: true, get: "install Rust from https://rustup.rs".into() }
}

const NOT_THERE: &str = "not in the PATH";

fn version(command: &mut Command) -> Result<String, String> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).lines().next().unwrap_or("found").to_owned();
            if output.status.success() { Ok(text) } else { Err(format!("does not work: {text}")) }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(NOT_THERE.into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Rust's standard library for a triple.
pub fn standard_library(triple: &str, tools: &Tools, needed: bool) -> Option<Finding> {
    let there = tools.triples.iter().any(|t| t == triple);
    let found = if there { Ok("installed".into()) } else { Err("not installed".into()) };
    Some(Finding { what: format!("Rust library for {triple}"), found, needed, get: tools.add_triple(triple) })
}

/// The C compiler for a triple, which links as well where the toolchain does not.
pub fn compiler(triple: &str, named: Option<&str>, tools: &Tools, needed: bool, target: &Target) -> Option<Finding> {
    let own = || tool(OWN_COMPILER, &["--version"], "apt-get install gcc libc6-dev");
    if triple == tools.host_triple {
        return Some(own());
    }
    if tools.host_triple.is_empty() {
        // Without rustc nothing is known of triples, and that is said already.
        return None;
    }
    Some(match tools.compiler_for(triple, named) {
        Some(OWN_COMPILER) => Finding { needed, ..own() },
        Some(compiler) => Finding {
            what: format!("C compiler and linker {compiler}"),
            needed,
            ..tool(compiler, &["--version"], &packages(target))
        },
        None => Finding {
            what: format!("C compiler and linker for {triple}"),
            found: Err("the target names none".into()),
            needed,
            get: format!("give {} a `linker`, or let zig or cross build", target.name),
        },
    })
}

/// Builders that would do instead of cargo. Needed only where the target asks for one by name.
pub fn other_builders(root: &Path, wanted: Builder) -> Vec<Finding> {
    let tools = Tools::detect(root, None);
    let zig = if tools.zig {
        version(Command::new("cargo-zigbuild").arg("--version"))
    } else {
        Err("not both in the PATH".into())
    };
    let cross = match (&tools.cross_engine, in_path("cross")) {
        (Some(engine), _) => Ok(format!("cross, and {engine} answers")),
        (None, Some(_)) => Err("cross is here, and no container engine answers".into()),
        (None, None) => Err("cross is not in the PATH".into()),
    };
    vec![
        Finding {
            what: "builder zig (cargo-zigbuild and zig)".into(),
            found: zig,
            needed: wanted == Builder::Zig,
            get: "pip install cargo-zigbuild ziglang".into(),
        },
        Finding {
            what: "builder cross (cross and podman or docker)".into(),
            found: cross,
            needed: wanted == Builder::Cross,
            get: "cargo install cross --locked; apt-get install podman".into(),
        },
    ]
}

/// A folder that must be there.
pub fn folder(what: &str, path: &Path, get: &str) -> Finding {
    let name = path.display().to_string();
    let found = if path.is_dir() { Ok(name) } else { Err(format!("{name} is not there")) };
    Finding { what: what.into(), found, needed: true, get: get.into() }
}

/// A folder that boardproof writes to, or makes.
pub fn writable(what: &str, path: &Path) -> Finding {
    let name = path.display().to_string();
    let nearest = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let may = nearest.is_dir()
        && Command::new("/bin/sh").args(["-c", "[ -w \"$0\" ]"]).arg(nearest).status().is_ok_and(|s| s.success());
    let found = if may { Ok(name.clone()) } else { Err(format!("{}: no permission to write", nearest.display())) };
    Finding { what: what.into(), found, needed: true, get: format!("make {name} a folder that you may write to") }
}

/// Whether programs of this machine may count their own instructions. Without it those figures are missing, with the reason.
pub fn counters() -> Finding {
    const FILE: &str = "/proc/sys/kernel/perf_event_paranoid";
    let level = std::fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let found = match level {
        Some(level) if level <= 2 => Ok(format!("allowed (perf_event_paranoid is {level})")),
        Some(level) => Err(format!("perf_event_paranoid is {level}: no instruction and cycle counts")),
        None => Err("this kernel has no perf events: no instruction and cycle counts".into()),
    };
    let get = "sysctl kernel.perf_event_paranoid=2".into();
    Finding { what: "counting of instructions".into(), found, needed: false, get }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_found_broken_or_absent() {
        assert!(tool("sh", &["-c", "echo sh 1.0"], "").found.is_ok_and(|text| text == "sh 1.0"));
        assert!(
            tool("sh", &["-c", "echo no toolchain >&2; exit 1"], "").found.is_err_and(|e| e.contains("no toolchain"))
        );
        assert!(tool("no-such-program-anywhere", &[], "").found.is_err_and(|e| e == NOT_THERE));
    }

    #[test]
    fn a_folder_that_can_be_made_may_be_written_and_a_file_may_not() {
        let home = tempfile::tempdir().unwrap();
        assert!(writable("x", &home.path().join("a/b")).found.is_ok());
        std::fs::write(home.path().join("file"), "").unwrap();
        assert!(writable("x", &home.path().join("file/b")).found.is_err());
    }
}
