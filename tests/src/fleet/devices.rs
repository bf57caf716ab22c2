//! Simulated devices with identities of their own, and what they will say, rendered and signed before anything is measured.
//! Certificates are unique; keys come from a small pool, because making ten thousand would take longer than everything else.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::ca::{Ca, Issue};
use mdm_core::clock::Timestamp;
use mdm_core::secret::Secret;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectKeyIdentifier};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

/// How a device proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[expect(clippy::exhaustive_enums, reason = "programs of this crate match it")]
pub enum Mode {
    /// `Mdm-Signature` over every body.
    Signature,
    /// Its certificate in a header of a trusted proxy.
    Header,
}

/// What kind of key devices have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[expect(clippy::exhaustive_enums, reason = "programs of this crate match it")]
pub enum KeyKind {
    /// RSA of 2048 bits.
    Rsa2048,
    /// The curve P-256.
    P256,
}

/// The push topic of every run.
pub const TOPIC: &str = "com.apple.mgmt.External.bench";
/// Keys that devices share.
const KEYS: usize = 8;

/// A device and its identity.
#[derive(Clone)]
#[non_exhaustive]
pub struct Device {
    /// Its number, which is the key of its rows too.
    pub number: i64,
    /// Serial number.
    pub serial: String,
    /// UDID.
    pub udid: String,
    /// Its identity.
    pub certificate: X509,
    /// The same as DER.
    pub der: Vec<u8>,
    key: PKey<Private>,
}

impl Device {
    /// A detached signature over a body.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn sign(&self, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let options = CMSOptions::DETACHED | CMSOptions::BINARY | CMSOptions::NOSMIMECAP;
        let signed = CmsContentInfo::sign(
            Some(&self.certificate),
            Some(&self.key),
            None,
            Some(body),
            options,
        )?;
        Ok(signed.to_der()?)
    }
}

/// The authority that issues the devices' identities, on the curve P-256 because it has so many to issue.
#[non_exhaustive]
pub struct Authority {
    /// What issues.
    pub ca: Ca,
    /// Its certificate, PEM.
    pub pem: Vec<u8>,
    /// Its key, PEM.
    pub key_pem: Vec<u8>,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn create(now: Timestamp) -> anyhow::Result<Self> {
        let key = key(KeyKind::P256)?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_text("CN", "bench device identities")?;
        let name = name.build();
        let mut builder = X509Builder::new()?;
        builder.set_version(2)?;
        let number = BigNum::from_u32(1)?.to_asn1_integer()?;
        builder.set_serial_number(&number)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.set_pubkey(&key)?;
        let from = Asn1Time::from_unix(now.as_secs() - 86_400)?;
        let until = Asn1Time::from_unix(now.as_secs() + 86_400 * 3650)?;
        builder.set_not_before(&from)?;
        builder.set_not_after(&until)?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.append_extension(KeyUsage::new().key_cert_sign().crl_sign().build()?)?;
        // What it issues refers to it by this.
        let id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
        builder.append_extension(id)?;
        builder.sign(&key, MessageDigest::sha256())?;
        let certificate = builder.build();
        Self::load(&certificate.to_pem()?, &key.private_key_to_pem_pkcs8()?)
    }

    /// One that another server trusts already.
    ///
    /// # Errors
    /// When certificate or key cannot be read.
    pub fn load(certificate: &[u8], key: &[u8]) -> anyhow::Result<Self> {
        let der = X509::from_pem(certificate)?.to_der()?;
        let private = PKey::private_key_from_pem(key)?.private_key_to_pkcs8()?;
        Ok(Self {
            ca: Ca::load(&der, &Secret::new(private))?,
            pem: certificate.to_vec(),
            key_pem: key.to_vec(),
        })
    }
}

fn key(kind: KeyKind) -> anyhow::Result<PKey<Private>> {
    Ok(match kind {
        KeyKind::Rsa2048 => PKey::from_rsa(Rsa::generate(2048)?)?,
        KeyKind::P256 => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
            PKey::from_ec_key(EcKey::generate(&group)?)?
        }
    })
}

/// A self-signed certificate with its key (PKCS#8), for the push topic: nobody checks it here.
///
/// # Errors
/// OpenSSL's.
pub fn push_identity() -> anyhow::Result<(Vec<u8>, Secret)> {
    let key = key(KeyKind::P256)?;
    let mut builder = X509Builder::new()?;
    builder.set_pubkey(&key)?;
    let (from, until) = (Asn1Time::days_from_now(0)?, Asn1Time::days_from_now(365)?);
    builder.set_not_before(&from)?;
    builder.set_not_after(&until)?;
    builder.sign(&key, MessageDigest::sha256())?;
    let private = key.private_key_to_pkcs8()?;
    Ok((builder.build().to_der()?, Secret::new(private)))
}

/// Devices with the numbers `from..from + count`.
///
/// # Errors
/// OpenSSL's.
pub fn make(
    authority: &Authority,
    kind: KeyKind,
    from: i64,
    count: usize,
    now: Timestamp,
) -> anyhow::Result<Vec<Device>> {
    let keys: Vec<PKey<Private>> = (0..KEYS).map(|_| key(kind)).collect::<Result<_, _>>()?;
    let public: Vec<Vec<u8>> = keys
        .iter()
        .map(|k| k.public_key_to_der())
        .collect::<Result<_, _>>()?;
    let numbers: Vec<i64> = (from..).take(count).collect();
    in_parallel(&numbers, |number| {
        let which = usize::try_from(*number)? % KEYS;
        let serial = format!("BN{number:010}");
        let issue = Issue::new(*number, &serial, &public[which], now, 3650);
        let der = authority.ca.issue(&issue)?;
        Ok(Device {
            number: *number,
            udid: format!("00008140-{number:016X}"),
            serial,
            certificate: X509::from_der(&der)?,
            der,
            key: keys[which].clone(),
        })
    })
}

/// The same for every element, on every processor.
///
/// # Errors
/// The first that one of them had.
pub fn in_parallel<T: Sync, R: Send>(
    all: &[T],
    each: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let share = all.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = all
            .chunks(share)
            .map(|part| scope.spawn(|| part.iter().map(&each).collect::<anyhow::Result<Vec<R>>>()))
            .collect();
        let mut results = Vec::with_capacity(all.len());
        for part in parts {
            let part = part.join().ok().context("a thread panicked")?;
            results.extend(part?);
        }
        Ok(results)
    })
}

/// Renders whole requests.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "programs of this crate fill it in"
)]
pub struct Writer {
    /// `Host`.
    pub host: String,
    /// Path of check-ins.
    pub check_in_path: String,
    /// Path of reports.
    pub command_path: String,
    /// How devices prove who they are.
    pub mode: Mode,
}

impl Writer {
    /// A check-in message, ready to be sent.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn check_in(&self, device: &Device, body: &str) -> anyhow::Result<Vec<u8>> {
        let kind = "application/x-apple-aspen-mdm-checkin";
        self.request(device, &self.check_in_path, kind, body)
    }

    /// A report, ready to be sent.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn report(&self, device: &Device, body: &str) -> anyhow::Result<Vec<u8>> {
        self.request(
            device,
            &self.command_path,
            "application/x-apple-aspen-mdm",
            body,
        )
    }

    fn request(
        &self,
        device: &Device,
        path: &str,
        kind: &str,
        body: &str,
    ) -> anyhow::Result<Vec<u8>> {
        let identity = match self.mode {
            Mode::Signature => {
                format!(
                    "Mdm-Signature: {}",
                    STANDARD.encode(device.sign(body.as_bytes())?)
                )
            }
            Mode::Header => format!("Client-Cert: :{}:", STANDARD.encode(&device.der)),
        };
        Ok(format!(
            "PUT {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: MDM-OSX/1.0 mdmclient/1724\r\nContent-Type: {kind}\r\n\
             {identity}\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        )
        .into_bytes())
    }
}

fn plist(inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n{inner}</dict>\n</plist>\n"
    )
}

fn strings(pairs: &[(&str, &str)]) -> String {
    pairs
        .iter()
        .map(|(key, value)| format!("\t<key>{key}</key>\n\t<string>{value}</string>\n"))
        .collect()
}

/// The first message of an enrolment.
#[must_use]
pub fn authenticate(device: &Device) -> String {
    plist(&strings(&[
        ("BuildVersion", "25B78"),
        ("DeviceName", &format!("Mac {}", device.number)),
        ("MessageType", "Authenticate"),
        ("Model", "Mac15,7"),
        ("ModelName", "MacBook Pro"),
        ("OSVersion", "26.1"),
        ("ProductName", "Mac15,7"),
        ("SerialNumber", &device.serial),
        ("Topic", TOPIC),
        ("UDID", &device.udid),
    ]))
}

/// The push token of a device's `version`.
#[must_use]
pub fn push_token(device: &Device, version: u8) -> [u8; 32] {
    let mut token = [version; 32];
    token[..8].copy_from_slice(&device.number.to_be_bytes());
    token
}

/// A TokenUpdate; every `version` has another push token.
#[must_use]
pub fn token_update(device: &Device, version: u8) -> String {
    let token = push_token(device, version);
    let head = strings(&[("MessageType", "TokenUpdate")]);
    let magic = format!("A5D3C1E2-0B7F-4E62-9D0B-{:012X}", device.number);
    let tail = strings(&[
        ("PushMagic", &magic),
        ("Topic", TOPIC),
        ("UDID", &device.udid),
    ]);
    plist(&format!(
        "{head}\t<key>Token</key>\n\t<data>{}</data>\n{tail}",
        STANDARD.encode(token)
    ))
}

/// Nothing to report: is there something to do?
#[must_use]
pub fn idle(device: &Device) -> String {
    plist(&strings(&[("Status", "Idle"), ("UDID", &device.udid)]))
}

/// The answer to a DeviceInformation.
#[must_use]
pub fn acknowledged(device: &Device, command: &str) -> String {
    let answers = strings(&[
        ("DeviceName", &format!("Mac {}", device.number)),
        ("OSVersion", "26.1"),
        ("BuildVersion", "25B78"),
        ("ModelName", "MacBook Pro"),
        ("ProductName", "Mac15,7"),
        ("SerialNumber", &device.serial),
        ("UDID", &device.udid),
    ]);
    let head = strings(&[("CommandUUID", command)]);
    let tail = strings(&[("Status", "Acknowledged"), ("UDID", &device.udid)]);
    plist(&format!(
        "{head}\t<key>QueryResponses</key>\n\t<dict>\n{answers}\t</dict>\n{tail}"
    ))
}

/// A command that has to wait.
#[must_use]
pub fn not_now(device: &Device, command: &str) -> String {
    plist(&strings(&[
        ("CommandUUID", command),
        ("Status", "NotNow"),
        ("UDID", &device.udid),
    ]))
}

/// The UUID of a command, as a device reads it; `None` of an empty answer.
#[must_use]
pub fn command_uuid(command: &str) -> Option<String> {
    let (_, rest) = command.split_once("<key>CommandUUID</key>")?;
    let (_, rest) = rest.split_once("<string>")?;
    Some(rest.split_once("</string>")?.0.to_owned())
}

/// A command that this device does not do.
#[must_use]
pub fn refused(device: &Device, command: &str) -> String {
    plist(&strings(&[
        ("CommandUUID", command),
        ("Status", "Error"),
        ("UDID", &device.udid),
    ]))
}

/// A bootstrap token to be kept.
#[must_use]
pub fn bootstrap_token(device: &Device, token: &str) -> String {
    let head = strings(&[("MessageType", "SetBootstrapToken"), ("UDID", &device.udid)]);
    plist(&format!(
        "\t<key>BootstrapToken</key>\n\t<data>{}</data>\n{head}",
        STANDARD.encode(token)
    ))
}

/// What is the bootstrap token?
#[must_use]
pub fn which_bootstrap_token(device: &Device) -> String {
    plist(&strings(&[
        ("MessageType", "GetBootstrapToken"),
        ("UDID", &device.udid),
    ]))
}

/// What do the declarations look like?
#[must_use]
pub fn declarations(device: &Device) -> String {
    declarative(device, "tokens", None)
}

/// A message of declarative management, with JSON where it has any.
#[must_use]
pub fn declarative(device: &Device, endpoint: &str, json: Option<&str>) -> String {
    let data = json.map(|json| {
        format!(
            "\t<key>Data</key>\n\t<data>{}</data>\n",
            STANDARD.encode(json)
        )
    });
    let keys = strings(&[
        ("Endpoint", endpoint),
        ("MessageType", "DeclarativeManagement"),
        ("UDID", &device.udid),
    ]);
    plist(&(data.unwrap_or_default() + &keys))
}
