//! The manifest of a package or an application of one's own, in a command or at an address.

use plist::{Dictionary, Value};

use crate::wire::keys::{Free, Keys, record, words};
use crate::wire::plist::{PlistError, read_dictionary, write_dictionary};

words! {
    /// What a file of a manifest is.
    pub enum AssetKind {
        /// The package or application.
        SoftwarePackage = "software-package",
        /// The icon.
        DisplayImage = "display-image",
        /// A large picture.
        FullSizeImage = "full-size-image",
        /// A list of further files.
        AssetPackManifest = "asset-pack-manifest",
    }
}

words! {
    /// What a manifest describes.
    pub enum ManifestKind {
        /// The only kind there is.
        Software = "software",
    }
}

record! {
    /// One file, with hashes of its parts.
    pub struct ManifestAsset {
        new {
            /// What it is.
            kind: AssetKind = "kind",
            /// Where it is, by HTTPS.
            url: String = "url",
        }
        optional {
            /// Bytes of each part but the last.
            sha256_size: u64 = "sha256-size",
            /// The hash of each part, in hexadecimal.
            sha256s: Vec<String> = "sha256s",
            /// Bytes of each part but the last, for the older hash.
            md5_size: u64 = "md5-size",
            /// The older hash of each part, in hexadecimal.
            md5s: Vec<String> = "md5s",
            /// The icon gets a gloss.
            needs_shine: bool = "needs-shine",
        }
    }
}

record! {
    /// A program within a package.
    pub struct ManifestProgram {
        optional {
            /// Its bundle identifier.
            bundle_identifier: String = "bundle-identifier",
            /// Its version.
            bundle_version: String = "bundle-version",
        }
    }
}

record! {
    /// What a package is.
    pub struct ManifestMetadata {
        new {
            /// The bundle identifier.
            bundle_identifier: String = "bundle-identifier",
            /// What is described.
            kind: ManifestKind = "kind",
            /// The name, as people see it.
            title: String = "title",
        }
        optional {
            /// The version.
            bundle_version: String = "bundle-version",
            /// Bytes.
            size_in_bytes: u64 = "sizeInBytes",
            /// A line below the name.
            subtitle: String = "subtitle",
            /// The programs within, Mac only.
            items: Vec<ManifestProgram> = "items",
        }
    }
}

record! {
    /// One package.
    pub struct ManifestItem {
        new {
            /// Its files.
            assets: Vec<ManifestAsset> = "assets",
            /// What it is.
            metadata: ManifestMetadata = "metadata",
        }
    }
}

record! {
    /// A manifest: where the files of a package are and what they must be.
    /// <https://developer.apple.com/documentation/devicemanagement/manifesturl>
    pub struct Manifest {
        new {
            /// One item for each package.
            items: Vec<ManifestItem> = "items",
        }
    }
}

/// The largest manifest that is read, in bytes: one with the hashes of thousands of parts.
pub const MANIFEST_LIMIT: usize = 1024 * 1024;

impl Manifest {
    /// The files to be installed that are named by what lies at a `ManifestURL`; `None` for a property list that is no manifest. Only
    /// this is asked of it: devices take manifests without `metadata`, and with keys that nobody knows.
    ///
    /// # Errors
    /// [`PlistError`] for bytes that are no property list.
    pub fn files(bytes: &[u8]) -> Result<Option<Vec<ManifestFile>>, PlistError> {
        let manifest = read_dictionary(bytes, MANIFEST_LIMIT)?;
        let Some(items) = manifest.get("items").and_then(Value::as_array) else {
            return Ok(None);
        };
        let items = items.iter().filter_map(Value::as_dictionary);
        let assets = items.filter_map(|item| item.get("assets")?.as_array());
        let assets = assets.flatten().filter_map(Value::as_dictionary);
        let files = assets.filter_map(ManifestFile::read);
        Ok(Some(files.collect()))
    }

    /// The property list that lies at a `ManifestURL`, as XML.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        write_dictionary(&self.to_dictionary())
    }
}

/// A file to be installed, as somebody finds it named who only looks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManifestFile {
    /// Where it is; empty where that is not said.
    pub url: String,
    /// It is said what its bytes must be: one hash of all, or hashes of its parts and how long a part is.
    pub hashed: bool,
}

impl ManifestFile {
    fn read(asset: &Dictionary) -> Option<Self> {
        let text = |key: &str| asset.get(key).and_then(Value::as_string);
        if text("kind") != Some("software-package") {
            return None;
        }
        let parts = |hashes: &str, size: &str| {
            let all = asset.get(hashes).and_then(Value::as_array);
            all.is_some_and(|all| !all.is_empty()) && asset.get(size).is_some()
        };
        let whole = text("sha256").is_some_and(|hash| !hash.is_empty());
        Some(Self {
            url: text("url").unwrap_or_default().to_owned(),
            hashed: whole || parts("sha256s", "sha256-size") || parts("md5s", "md5-size"),
        })
    }
}

impl From<Manifest> for Free {
    fn from(manifest: Manifest) -> Self {
        Self(manifest.to_dictionary())
    }
}
