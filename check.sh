#!/usr/bin/env bash
# Formatting, lints, documentation and tests: one script for people and for CI.
#   ./check.sh          everything
#   ./check.sh quick    everything but the tests
set -euo pipefail
cd "$(dirname "$0")"

step() { printf '\n== %s\n' "$*"; }

step "formatting"
cargo fmt --all -- --check
step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
step "the library without a store of ours, and with each alone"
for store in "" sqlite postgres; do
  cargo clippy -p mdm-core --no-default-features --features "$store" --locked -- -D warnings
done
step "the server without the simulated world"
cargo clippy -p mdmd --no-default-features --features vendored-openssl --locked -- -D warnings
step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
if command -v cargo-deny >/dev/null 2>&1; then
  step "bans, licences, sources"
  cargo deny --locked check bans licenses sources
  # They change without us: a database of the day, or none. Without one nothing can be said, which is no reason to fail.
  if cargo deny --locked fetch db >/dev/null 2>&1; then
    step "advisories"
    cargo deny --locked check --disable-fetch advisories
  else
    step "advisories: SKIPPED, their database cannot be fetched"
  fi
else
  step "bans, licences, sources, advisories: SKIPPED, cargo-deny is not installed"
fi
step "packages of the two libraries"
# Without building them anew from the package, which takes as long as everything above; `.ci/run` does that.
cargo package -p abm-client -p mdm-core --locked --allow-dirty --no-verify --quiet
if [ "${1:-}" != quick ]; then
  step "tests"
  cargo test --workspace --locked
fi
