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
             if [ -e \"$3\" ]; then exit 2; fi\n\
             if [ {writes_record} = true ]; then mkdir -p \"$3\" && echo '{{}}' > \"$3/record.json\"; fi\n\
             exit {check_ends_with}\n"
        )
    }

    /// Runs the script, as a CI system would in a workspace that may hold what an earlier run has left.
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

#[test]
fn a_workspace_that_is_kept_shows_nothing_of_the_run_before() {
    let folder = tempfile::tempdir().unwrap();
    let pass = StandIn { check_ends_with: 0, writes_record: true, report_ends_with: 0 };
    for _ in 0..2 {
        let output = pass.run(folder.path());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let fault = StandIn { check_ends_with: 5, writes_record: false, report_ends_with: 0 };
    assert_eq!(fault.run(folder.path()).status.code(), Some(5));
    for name in ["record", "report.xml", "report.md", "report.html"] {
        assert!(!folder.path().join("out").join(name).exists(), "{name} is of the run before");
    }
}

#[test]
fn a_folder_that_is_no_record_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("out/record")).unwrap();
    fs::write(folder.path().join("out/record/thesis.txt"), "precious").unwrap();
    let output = StandIn { check_ends_with: 0, writes_record: true, report_ends_with: 0 }.run(folder.path());
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read_to_string(folder.path().join("out/record/thesis.txt")).unwrap(), "precious");
}

#[test]
fn wrong_use_has_its_line_of_json_too() {
    let output = Command::new("sh").arg(check_sh()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout, b"{\"verdict\":\"wrong_use\",\"exit_code\":2}\n");
}
