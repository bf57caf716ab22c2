//! Exports of the service that devices leave, as CSV: what was read of them is taken as it stands into a hand-off, and comes out
//! of it as the same.

use mdm_core::clock::Timestamp;
use mdm_core::hand_off::bundle;
use mdmd::originals::{read_csv, read_csv_with_secrets};

/// 2026-11-20T16:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_795_190_400_000);

/// Reads a file without and with the secrets in it.
pub fn originals(data: &[u8]) {
    let plain = read_csv(data);
    if let Err(error) = &plain {
        assert!(error.line >= 1 && error.column >= 1, "{error}");
        assert!(error.problem.len() < 400, "a long problem");
    }
    let (devices, unknown) = match read_csv_with_secrets(data) {
        Ok(read) => read,
        Err(error) => {
            let said = error.to_string();
            for cell in String::from_utf8_lossy(data).split([',', ';', '\t', '\n', '\r', '"']) {
                assert!(
                    !cell.starts_with("secret-") || !said.contains(cell),
                    "{said}"
                );
            }
            return;
        }
    };
    assert!(!devices.is_empty(), "nothing is no export");
    if let Ok((said, _)) = plain {
        let same = said
            .iter()
            .eq(devices.iter().filter_map(|d| d.said.as_ref().ok()));
        assert!(same, "secrets change what is known beside them");
    }
    // No seed has columns that nobody knows beside secrets of two devices.
    if option_env!("FUZZ_PLANTED").is_some() {
        let secret = devices.iter().filter(|d| !d.secrets.is_empty()).count();
        assert!(unknown.is_empty() || secret < 2, "the planted fault");
    }
    let Ok(written) = bundle::write("fuzz", NOW, None, &devices) else {
        return;
    };
    let again = bundle::read(written.expose()).expect("what we wrote");
    assert_eq!(again.devices.len(), devices.len());
    for (again, before) in again.devices.iter().zip(&devices) {
        let again = again.as_ref().expect("what we wrote");
        assert_eq!(again.secrets, before.secrets);
        assert_eq!(again.said.as_ref().ok(), before.said.as_ref().ok());
    }
}
