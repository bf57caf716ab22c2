//! What goes wrong, for people: each way with its owner, how sure that is, what shows it and what to do next.

use serde_json::Value;

use super::cell;

/// A list of failures, each on lines of its own.
pub(super) fn show(failures: &Value) {
    for failure in failures.as_array().into_iter().flatten() {
        println!();
        println!(
            "{}: {} ({}, {})",
            cell(&failure["mode"]),
            cell(&failure["what"]),
            cell(&failure["owner"]),
            cell(&failure["confidence"])
        );
        for evidence in failure["evidence"].as_array().into_iter().flatten() {
            match evidence["at"].as_str() {
                Some(at) => println!("  {at}  {}", cell(&evidence["what"])),
                None => println!("  {}", cell(&evidence["what"])),
            }
        }
        println!("  next: {}", cell(&failure["next"]));
    }
}
