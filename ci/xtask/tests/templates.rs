//! `ci/templates/check.sh` with a stand-in for boardproof: whatever goes wrong, only a pass with its reports ends with 0.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the stand-in does.
struct StandIn {
    check_ends_with: u8,
    writes_record: bool,
    report_ends_with: u8,
}

impl StandIn {
    fn script(&self) -> String {
        let Self { check_ends_with, writes_record, report_ends_with } = self;
        format!(
            "#!/bin/sh\n\
             if [ \"$1\" = report ]; then\n    [ {report_ends_with} -ne 0 ] || echo text > \"$6\"\n    exit {report_ends_with}\nfi\n\
             echo noise\n\
             if [ {writes_record} = true ]; then mkdir -p \"$3\" && echo '{{}}' > \"$3/record.json\"; fi\n\
             exit {check_ends_with}\n"
        )
    }

    fn run(&self, folder: &Path) -> Output {
        let program = folder.join("boardproof");
        fs::write(&program, self.script()).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        Command::new("sh").arg(check_sh()).arg(folder.join("out")).arg("mnist").env("PATH", path).output().unwrap()
    }
}

fn check_sh() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/check.sh")
}

#[track_caller]
fn check(stand_in: &StandIn, code: i32, verdict: &str, reports: bool) {
    let folder = tempfile::tempdir().unwrap();
    let output = stand_in.run(folder.path());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout, format!("{{\"verdict\":\"{verdict}\",\"exit_code\":{code}}}\n"));
    for name in ["report.xml", "report.md", "report.html"] {
        assert_eq!(folder.path().join("out").join(name).is_file(), reports, "{name}");
    }
}

#[test]
fn every_code_keeps_its_meaning() {
    for (code, verdict) in [
        (1, "fail"),
        (2, "wrong_use"),
        (3, "inconclusive"),
        (4, "incomplete"),
        (5, "fault"),
        (70, "bug"),
        (101, "bug"),
        (130, "interrupted"),
    ] {
        let stand_in = StandIn { check_ends_with: code, writes_record: true, report_ends_with: 0 };
        check(&stand_in, code.into(), verdict, true);
    }
}

#[test]
fn a_pass_that_nobody_can_look_at_is_no_pass() {
    check(&StandIn { check_ends_with: 0, writes_record: true, report_ends_with: 5 }, 5, "fault", false);
    check(&StandIn { check_ends_with: 0, writes_record: false, report_ends_with: 0 }, 70, "bug", false);
}

#[test]
fn a_failed_report_does_not_hide_a_failed_check() {
    check(&StandIn { check_ends_with: 1, writes_record: true, report_ends_with: 5 }, 1, "fail", false);
}

#[test]
fn a_pass_ends_with_0_and_has_its_reports() {
    check(&StandIn { check_ends_with: 0, writes_record: true, report_ends_with: 0 }, 0, "pass", true);
}
