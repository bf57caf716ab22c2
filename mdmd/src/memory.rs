//! Keeps what is in this process's memory, keys among it, out of core files and away from other processes of the same
//! user. What can swap or hibernate the machine's memory is beyond a process.

use rustix::process::{Resource, Rlimit, setrlimit};

/// No core file, and on Linux no attaching and no reading of `/proc/self/mem` by others than root. An operating system
/// that refuses is told of and nothing worse: the server is still better running.
pub(crate) fn keep_private() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        eprintln!("mdmd: core files cannot be switched off: {error}");
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            eprintln!("mdmd: the process stays readable for others of this user: {error}");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior};

    #[test]
    fn the_process_leaves_no_core_and_cannot_be_read() {
        super::keep_private();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limits = std::fs::read_to_string("/proc/thread-self/limits").unwrap();
        let core = limits
            .lines()
            .find(|l| l.starts_with("Max core file size"))
            .unwrap();
        let figures: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
        assert_eq!(figures, ["0", "0"], "{core}");
    }
}
