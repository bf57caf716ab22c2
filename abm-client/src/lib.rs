//! A client for Apple's services for organisations: what a device-management server needs to take devices in, to
//! migrate them, to license their apps and to lift their locks.
//!
//! | service | credential | here |
//! |---|---|---|
//! | device assignment | [`ServerToken`] | [`assignment::AssignmentClient`] |
//! | Apple Business and Apple School Manager API | [`business::ApiAccount`] | [`business::BusinessClient`] |
//! | Apps and Books | [`apps::ContentToken`] | [`apps::AppsClient`] |
//! | removal of Activation Lock | push certificate | [`lock_removal::LockRemovalClient`] |
//!
//! Clients are cheap to clone and can be shared by every task. What they need is passed in: a [`Transport`] (with the
//! default feature `hyper-transport` there is [`HyperTransport`]), a [`Clock`], and for scarce services a [`Gate`] with a
//! [`Budget`]. Without default features the crate brings neither hyper nor tokio; types and pure logic remain.
//!
//! # What it refuses to do
//!
//! It never repeats a request that may have changed something: [`Error::is_unknown_outcome`] says that it may have, and
//! only reading again tells. It repeats a request whose session was refused, once. It does not sleep, unless it is given
//! something to [`Sleep`] with. It stores nothing; a cursor or an identifier that must survive is handed out. What
//! cannot be undone is behind the feature `irreversible`. No credential is in an error or in `Debug` output, and what
//! holds one is zeroed when it is dropped.
//!
//! # What Apple may change
//!
//! Unknown keys are kept (`extra`), unknown values of an enumeration survive as `Other`, and a time that cannot be read
//! keeps its text. An answer of another shape is [`ErrorKind::Malformed`], which names the call and the field.
//!
//! # Errors answer questions
//!
//! ```
//! use abm_client::Error;
//! use std::time::Duration;
//!
//! enum Next {
//!     ShowToPerson(&'static str),
//!     FetchEverything,
//!     ReadAgainFirst,
//!     LaterAfter(Duration),
//!     GiveUp,
//! }
//!
//! fn next(error: &Error) -> Next {
//!     if let Some(what_to_do) = error.needs_person() {
//!         Next::ShowToPerson(what_to_do)
//!     } else if error.is_cursor_expired() {
//!         Next::FetchEverything
//!     } else if error.is_unknown_outcome() {
//!         Next::ReadAgainFirst
//!     } else if let Some(wait) = error.retry_after() {
//!         Next::LaterAfter(wait)
//!     } else {
//!         Next::GiveUp
//!     }
//! }
//! ```
//!
//! # From a key pair to a list of devices
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "hyper-transport")] {
//! use abm_client::assignment::AssignmentClient;
//! use abm_client::{Clock, HyperTransport, ServerToken, SystemClock, TokenKeyPair};
//!
//! let pair = TokenKeyPair::generate("our-server", SystemClock.now_ms(), 3650)?;
//! std::fs::write("upload-this-to-the-portal.pem", pair.certificate_pem()?)?;
//! // A person uploads it and downloads the token.
//! let token = ServerToken::open(&std::fs::read("Our_Token_smime.p7m")?, &[pair])?;
//! let apple = AssignmentClient::new(HyperTransport::builder().build()?, token, "our-server/1.0", SystemClock);
//! let account = apple.account().await?;
//! let devices = apple.fetch_devices(None).await?.devices;
//! println!("{}: {} devices on the first page", account.server_name, devices.len());
//! # }
//! # Ok(()) }
//! ```

pub mod apps;
pub mod assignment;
pub mod business;
pub mod lock_removal;
pub mod oauth1;

mod answer;
mod bypass_code;
mod clock;
mod error;
mod gate;
mod limiter;
mod line;
mod moment;
mod open_enum;
mod secret;
mod server_token;
mod session;
mod transport;

use openssl::error::ErrorStack;

pub use self::bypass_code::BypassCode;
pub use self::clock::{Clock, SystemClock};
pub use self::error::{Credential, Endpoint, Error, ErrorKind, Refusal, Service};
#[cfg(feature = "hyper-transport")]
pub use self::gate::TokioSleep;
pub use self::gate::{BudgetGate, Gate, OpenGate, Permit, Sleep};
pub use self::limiter::{
    Budget, BudgetStatus, Limiter, LimiterState, Quota, RequestClass, backoff,
};
pub use self::moment::Moment;
pub use self::secret::{SecretBytes, SecretText};
pub use self::server_token::{ServerToken, TokenAge, TokenKeyPair};
#[cfg(feature = "hyper-transport")]
pub use self::transport::{ClientIdentity, HyperTransport, HyperTransportBuilder};
pub use self::transport::{Method, Request, Response, Transport, TransportError};

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `bytes` random bytes of the operating system's generator, in hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> Result<String, ErrorStack> {
    let mut random = vec![0; bytes];
    openssl::rand::rand_bytes(&mut random)?;
    Ok(hex(&random))
}

/// A random UUID (version 4) as text.
pub(crate) fn random_uuid() -> Result<String, ErrorStack> {
    let mut random = [0; 16];
    openssl::rand::rand_bytes(&mut random)?;
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let text = hex(&random);
    Ok(format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    ))
}
