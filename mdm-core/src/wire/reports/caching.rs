//! The answer to `ContentCachingInformation`: how a Mac's content cache does.

use std::collections::BTreeMap;

use plist::Date;

use crate::wire::keys::{Free, answer};

answer! {
    /// The answer to `ContentCachingInformation`, Mac only.
    /// <https://developer.apple.com/documentation/devicemanagement/contentcachinginformationresponse>
    pub struct ContentCachingInformationAnswer {
        /// The state of the cache.
        status: ContentCachingStatus = "StatusResponse",
    }
}

answer! {
    /// The state of a content cache. Sizes are in bytes.
    pub struct ContentCachingStatus {
        @part {
            /// What it stored and sent.
            traffic: ContentCachingTraffic,
            /// How it is registered with Apple.
            registration: ContentCachingRegistration,
        }
        /// It is turned on.
        activated: bool = "Activated",
        /// It serves.
        active: bool = "Active",
        /// What the files take on the disk.
        actual_cache_used: i64 = "ActualCacheUsed",
        /// By the place in the list of ranges.
        alerts_for_peer_filter_ranges: BTreeMap<String, ContentCachingAlert> = "AlertsForPeerFilterRanges",
        /// What is wrong.
        alerts: Vec<ContentCachingAlert> = "Alerts",
        /// Bytes by category.
        cache_details: BTreeMap<String, i64> = "CacheDetails",
        /// What is free.
        cache_free: i64 = "CacheFree",
        /// The most that it may use; 0 is no limit.
        cache_limit: i64 = "CacheLimit",
        /// `LOWSPACE` or `OK`.
        cache_status: String = "CacheStatus",
        /// What it uses.
        cache_used: i64 = "CacheUsed",
        /// The cache of an older version was moved.
        data_migration_completed: bool = "DataMigrationCompleted",
        /// Why it was not.
        data_migration_error: ContentCachingError = "DataMigrationError",
        /// 0 to 1.
        data_migration_progress: f64 = "DataMigrationProgress",
        /// 0 to 1.
        max_cache_pressure_last_hour: f64 = "MaxCachePressureLast1Hour",
        /// The caches that this one asks.
        parents: Vec<ContentCachingPeer> = "Parents",
        /// The caches beside this one.
        peers: Vec<ContentCachingPeer> = "Peers",
        /// What is free for iCloud.
        personal_cache_free: i64 = "PersonalCacheFree",
        /// The most for iCloud.
        personal_cache_limit: i64 = "PersonalCacheLimit",
        /// What iCloud uses.
        personal_cache_used: i64 = "PersonalCacheUsed",
        /// Only what its own network asks for.
        restricted_media: bool = "RestrictedMedia",
        /// `FAILED`, `MIGRATING_DATA`, `OK` or `PENDING`.
        startup_status: String = "StartupStatus",
        /// Sharing a connection with devices on a cable: -1 unknown, 0 off, 1 on.
        tetherator_status: i64 = "TetheratorStatus",
    }
}

answer! {
    /// What a cache stored and sent, in bytes.
    pub struct ContentCachingTraffic {
        /// When counting began.
        since: Date = "TotalBytesAreSince",
        /// Thrown away.
        dropped: i64 = "TotalBytesDropped",
        /// Given by hand.
        imported: i64 = "TotalBytesImported",
        /// Sent to caches below.
        to_children: i64 = "TotalBytesReturnedToChildren",
        /// Sent to devices.
        to_clients: i64 = "TotalBytesReturnedToClients",
        /// Sent to caches beside.
        to_peers: i64 = "TotalBytesReturnedToPeers",
        /// Loaded from Apple.
        from_origin: i64 = "TotalBytesStoredFromOrigin",
        /// Loaded from caches above.
        from_parents: i64 = "TotalBytesStoredFromParents",
        /// Loaded from caches beside.
        from_peers: i64 = "TotalBytesStoredFromPeers",
    }
}

answer! {
    /// How a cache is registered with Apple.
    pub struct ContentCachingRegistration {
        /// The port that it serves at.
        port: i64 = "Port",
        /// Its addresses in its network.
        private_addresses: Vec<String> = "PrivateAddresses",
        /// Its address as Apple sees it.
        public_address: String = "PublicAddress",
        /// Why it is not registered.
        error: String = "RegistrationError",
        /// The HTTP status of the last try.
        response_code: i64 = "RegistrationResponseCode",
        /// When the last try began.
        started: Date = "RegistrationStarted",
        /// -1 failed, 0 under way, 1 done.
        status: i64 = "RegistrationStatus",
        /// The name that it is registered by.
        server_guid: String = "ServerGUID",
    }
}

answer! {
    /// Something that is wrong.
    pub struct ContentCachingAlert {
        /// The kind, such as `AssetCacheLowSpaceAlert`.
        class_name: String = "className",
        /// Since when.
        post_date: Date = "postDate",
        /// The limit of the cache.
        cache_limit: i64 = "cacheLimit",
        /// What the volume keeps back.
        reserved_volume_space: i64 = "reservedVolumeSpace",
        /// What is missing.
        resource: String = "resource",
        /// The path that is in the way.
        path_preventing_access: String = "pathPreventingAccess",
        /// The place of the range.
        peer_filter_range_index: i64 = "peerFilterRangeIndex",
        /// Those concerned.
        addresses: Vec<String> = "addresses",
        /// The one concerned.
        peer_address: String = "peerAddress",
    }
}

answer! {
    /// An error of the system.
    pub struct ContentCachingError {
        /// Whose.
        domain: String = "domain",
        /// Which.
        code: i64 = "code",
        /// Free.
        user_info: Free = "userInfo",
    }
}

answer! {
    /// Another cache.
    pub struct ContentCachingPeer {
        /// Its address.
        address: String = "address",
        /// What is wrong with it.
        alert: ContentCachingAlert = "alert",
        /// What it tells of itself.
        details: ContentCachingPeerDetails = "details",
        /// Whether it serves this one. Peers only.
        friendly: bool = "friendly",
        /// Its name.
        guid: String = "guid",
        /// Whether it answers.
        healthy: bool = "healthy",
        /// Its port.
        port: i64 = "port",
        /// Its version.
        version: String = "version",
    }
}

answer! {
    /// What another cache tells of itself.
    pub struct ContentCachingPeerDetails {
        /// It is plugged in.
        ac_power: bool = "ac-power",
        /// Bytes.
        cache_size: i64 = "cache-size",
        /// What it can do.
        capabilities: ContentCachingCapabilities = "capabilities",
        /// It is a portable Mac.
        is_portable: bool = "is-portable",
        /// Its network.
        local_network: ContentCachingNetwork = "local-network",
    }
}

answer! {
    /// What another cache can do.
    pub struct ContentCachingCapabilities {
        /// Imports.
        im: bool = "im",
        /// Namespaces.
        ns: bool = "ns",
        /// Personal (iCloud) content.
        pc: bool = "pc",
        /// Query parameters.
        query_parameters: bool = "query-parameters",
        /// Shared content.
        sc: bool = "sc",
        /// Use of ranges.
        ur: bool = "ur",
    }
}

answer! {
    /// The network of another cache.
    pub struct ContentCachingNetwork {
        /// Megabits per second.
        speed: i64 = "speed",
        /// By cable.
        wired: bool = "wired",
    }
}
