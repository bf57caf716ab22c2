//! Books: `InstallMedia`, `RemoveMedia`. The list of them is asked by a command without keys.

use crate::wire::keys::{record, words};

words! {
    /// The kind of a medium.
    pub enum MediaType {
        /// The only kind there is.
        Book = "Book",
    }
}

words! {
    /// The format of a book of one's own.
    pub enum BookKind {
        /// A PDF.
        Pdf = "pdf",
        /// An EPUB.
        Epub = "epub",
        /// A book of Apple's own format.
        Ibooks = "ibooks",
    }
}

record! {
    /// Installs a book, of the store or of one's own. Not on a Mac.
    /// <https://developer.apple.com/documentation/devicemanagement/installmediacommand>
    pub struct InstallMedia {
        new {
            /// The kind.
            media_type: MediaType = "MediaType",
        }
        optional {
            /// The store's number.
            store_id: u64 = "iTunesStoreID",
            /// Where a book of one's own is.
            media_url: String = "MediaURL",
            /// The name by which a book of one's own is replaced and removed.
            persistent_id: String = "PersistentID",
            /// The format.
            kind: BookKind = "Kind",
            /// The version.
            version: String = "Version",
            /// The author.
            author: String = "Author",
            /// The title.
            title: String = "Title",
        }
    }
}

record! {
    /// Removes a book. Not on a Mac.
    /// <https://developer.apple.com/documentation/devicemanagement/removemediacommand>
    pub struct RemoveMedia {
        new {
            /// The kind.
            media_type: MediaType = "MediaType",
        }
        optional {
            /// The store's number; here a text, as the schema has it.
            store_id: String = "iTunesStoreID",
            /// The name of a book of one's own.
            persistent_id: String = "PersistentID",
        }
    }
}
