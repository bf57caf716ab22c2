//! A client for Apple's services for organisations.
#![cfg_attr(docsrs, feature(doc_cfg))]

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
