//! The manifest of a package or an application of one's own, in a command or at an address.

use crate::wire::keys::{Free, Keys, record, words};
use crate::wire::plist::write_dictionary;

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

impl Manifest {
    /// The property list that lies at a `ManifestURL`, as XML.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        write_dictionary(&self.to_dictionary())
    }
}

impl From<Manifest> for Free {
    fn from(manifest: Manifest) -> Self {
        Self(manifest.to_dictionary())
    }
}
