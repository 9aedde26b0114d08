//! The end of a process and of all that it started.

use std::process::Child;

/// Kills a child and its process group. The child must lead the group (`process_group(0)`) and must not have been waited for: until
/// then its number cannot be another's.
pub fn kill_group(child: &mut Child) {
    if let Ok(id) = i32::try_from(child.id())
        && let Some(group) = rustix::process::Pid::from_raw(id)
    {
        // One that is gone already is no error.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
}
