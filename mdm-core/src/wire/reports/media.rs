//! The answers to the commands for books.

use crate::wire::keys::answer;

answer! {
    /// The answer to `InstallMedia`.
    /// <https://developer.apple.com/documentation/devicemanagement/installmediaresponse>
    pub struct InstallMediaAnswer {
        /// The store's number.
        store_id: u64 = "iTunesStoreID",
        /// Where a book of one's own is.
        media_url: String = "MediaURL",
        /// The name of a book of one's own.
        persistent_id: String = "PersistentID",
        /// The kind.
        media_type: String = "MediaType",
        /// How far it is, such as `Queued`.
        state: String = "State",
        /// Why not, such as `PurchaseNotFound`.
        rejection_reason: String = "RejectionReason",
    }
}

answer! {
    /// The answer to `ManagedMediaList`.
    /// <https://developer.apple.com/documentation/devicemanagement/managedmedialistresponse>
    pub struct ManagedMediaListAnswer {
        /// The books that this service manages.
        books: Vec<ManagedBook> = "Books",
    }
}

answer! {
    /// A book that this service manages.
    pub struct ManagedBook {
        /// The store's number.
        store_id: u64 = "iTunesStoreID",
        /// How far it is, such as `Managed`.
        state: String = "State",
        /// The name of a book of one's own.
        persistent_id: String = "PersistentID",
        /// The format.
        kind: String = "Kind",
        /// The version.
        version: String = "Version",
        /// The author.
        author: String = "Author",
        /// The title.
        title: String = "Title",
    }
}
