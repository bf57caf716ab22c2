//! Device identities over their life: renewed before they end and voiding nothing, still good after it as long as the
//! organisation says so, refused on another device, issued elsewhere, revoked.

mod elsewhere;
mod refused;
mod renewed;
#[path = "../service_house/mod.rs"]
mod service_house;
mod told;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::attested::AttestedFacts;
use mdm_core::device::Platform;
use mdm_core::error::Error;
use mdm_core::ids::{CertificateId, Serial};
use mdm_core::organisation::IdentityProtocol;
use mdm_core::secret::Secret;
use mdm_core::service::{Answer, IdentitySettings, IdentityState, NewIssuer, Peer};
use mdm_core::store::Batch;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::x509::X509Crl;
use service_house::{Gadget, House, START, command};

const IDLE: &str = "<key>Status</key><string>Idle</string>";
const DAY: Duration = Duration::from_hours(24);

/// Polls until the device gets a command of this type; the others it acknowledges.
async fn fetch(house: &House, gadget: &Gadget, wanted: &str) -> String {
    let mut answer = house.report(gadget, IDLE).await.unwrap();
    for _ in 0..20 {
        let Some((uuid, kind)) = command(&answer) else {
            panic!("no {wanted} is in the queue");
        };
        if kind == wanted {
            let Answer::Plist(bytes) = answer else {
                unreachable!()
            };
            return String::from_utf8(bytes).unwrap();
        }
        let done = format!(
            "<key>Status</key><string>Error</string><key>CommandUUID</key><string>{uuid}</string>"
        );
        answer = house.report(gadget, &done).await.unwrap();
    }
    panic!("no {wanted} among twenty commands");
}

/// The enrolment profile inside an `InstallProfile`, as text.
fn profile(command: &str) -> String {
    let (_, data) = command.split_once("<data>").unwrap();
    let (data, _) = data.split_once("</data>").unwrap();
    let data: String = data.chars().filter(|c| !c.is_whitespace()).collect();
    let signed = STANDARD.decode(data).unwrap();
    let mut content = Vec::new();
    CmsContentInfo::from_der(&signed)
        .unwrap()
        .verify(
            None,
            None,
            None,
            Some(&mut content),
            CMSOptions::BINARY | CMSOptions::NO_SIGNER_CERT_VERIFY,
        )
        .unwrap();
    String::from_utf8(content).unwrap()
}

fn text(plist: &str, key: &str) -> String {
    let (_, rest) = plist.split_once(&format!("<key>{key}</key>")).unwrap();
    let (_, rest) = rest.split_once("<string>").unwrap();
    rest.split_once("</string>").unwrap().0.to_owned()
}

/// Tells the store that this identity is due.
async fn make_due(house: &House, gadget: &Gadget) {
    let mut row = house.identity_of(gadget).await;
    row.renew_at = Some(house.mdm.now());
    let mut batch = Batch::new();
    batch.put(row);
    house.mdm.store().commit(batch).await.unwrap();
}

/// An hour later, so that whoever looks every hour has looked.
async fn an_hour(house: &House) {
    house.clock.advance(Duration::from_hours(1));
    house.settle().await;
}
