//! `com.apple.vpn.managed`: IKEv2 and the connections of applications, with their DNS and proxies.
//! The older kinds (L2TP, IPSec) and Always On are made from a dictionary with
//! [`Payload::new`](super::Payload::new).

use uuid::Uuid;

use super::payload_type;
use crate::secret::Secret;
use crate::wire::keys::{SecretData, numbers, record, words};

numbers! {
    /// On or off, as a number.
    pub enum Switch {
        /// Off.
        Off = 0,
        /// On.
        On = 1,
    }
}

words! {
    /// The kind of a connection.
    pub enum VpnType {
        /// By an application, named under `VPNSubType`.
        Vpn = "VPN",
        /// L2TP.
        L2tp = "L2TP",
        /// IPSec of Cisco.
        IpSec = "IPSec",
        /// IKEv2.
        Ikev2 = "IKEv2",
        /// IKEv2 for everything. Not on a Mac.
        AlwaysOn = "AlwaysOn",
        /// A transparent proxy, Mac only.
        TransparentProxy = "TransparentProxy",
    }
}

words! {
    /// How a connection by an application signs in.
    pub enum VpnAuthentication {
        /// With a password.
        Password = "Password",
        /// With a certificate.
        Certificate = "Certificate",
        /// With both.
        PasswordAndCertificate = "Password+Certificate",
    }
}

words! {
    /// How IKEv2 signs in.
    pub enum Ikev2Authentication {
        /// By EAP alone.
        None = "None",
        /// With a secret that both sides know.
        SharedSecret = "SharedSecret",
        /// With a certificate.
        Certificate = "Certificate",
    }
}

words! {
    /// What an application does with traffic.
    pub enum ProviderType {
        /// It takes packets.
        PacketTunnel = "packet-tunnel",
        /// It takes connections.
        AppProxy = "app-proxy",
    }
}

words! {
    /// What a rule does.
    pub enum OnDemandAction {
        /// Nothing. Deprecated.
        Allow = "Allow",
        /// It connects.
        Connect = "Connect",
        /// It disconnects.
        Disconnect = "Disconnect",
        /// It looks at the parameters.
        EvaluateConnection = "EvaluateConnection",
        /// It leaves everything as it is.
        Ignore = "Ignore",
    }
}

words! {
    /// What is done for domains.
    pub enum DomainAction {
        /// It connects if the domain cannot be reached otherwise.
        ConnectIfNeeded = "ConnectIfNeeded",
        /// It never connects.
        NeverConnect = "NeverConnect",
    }
}

words! {
    /// A kind of network.
    pub enum InterfaceType {
        /// A cable.
        Ethernet = "Ethernet",
        /// Wi-Fi.
        Wifi = "WiFi",
        /// Cellular.
        Cellular = "Cellular",
    }
}

words! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// 1.0.
        V1_0 = "1.0",
        /// 1.1.
        V1_1 = "1.1",
        /// 1.2.
        V1_2 = "1.2",
        /// 1.3, for Wi-Fi only.
        V1_3 = "1.3",
    }
}

words! {
    /// How often IKEv2 looks whether the other side is there.
    pub enum DeadPeerDetection {
        /// Never.
        None = "None",
        /// Every thirty minutes.
        Low = "Low",
        /// Every ten minutes.
        Medium = "Medium",
        /// Every minute.
        High = "High",
    }
}

words! {
    /// The kind of a certificate's key.
    pub enum CertificateType {
        /// RSA.
        Rsa = "RSA",
        /// P-256.
        Ecdsa256 = "ECDSA256",
        /// P-384.
        Ecdsa384 = "ECDSA384",
        /// P-521.
        Ecdsa521 = "ECDSA521",
        /// RSA with PSS.
        RsaPss = "RSA-PSS",
    }
}

words! {
    /// A cipher.
    pub enum EncryptionAlgorithm {
        /// Broken.
        Des = "DES",
        /// Old.
        TripleDes = "3DES",
        /// AES.
        Aes128 = "AES-128",
        /// AES.
        Aes256 = "AES-256",
        /// AES with GCM.
        Aes128Gcm = "AES-128-GCM",
        /// AES with GCM.
        Aes256Gcm = "AES-256-GCM",
        /// ChaCha20 with Poly1305.
        ChaCha20Poly1305 = "ChaCha20Poly1305",
    }
}

words! {
    /// A hash.
    pub enum IntegrityAlgorithm {
        /// Old.
        Sha1_96 = "SHA1-96",
        /// Old.
        Sha1_160 = "SHA1-160",
        /// SHA-256.
        Sha2_256 = "SHA2-256",
        /// SHA-384.
        Sha2_384 = "SHA2-384",
        /// SHA-512.
        Sha2_512 = "SHA2-512",
    }
}

words! {
    /// How names are asked for.
    pub enum DnsProtocol {
        /// In clear.
        Cleartext = "Cleartext",
        /// By HTTPS.
        Https = "HTTPS",
        /// By TLS.
        Tls = "TLS",
    }
}

record! {
    /// What `EvaluateConnection` looks at.
    pub struct OnDemandParameters {
        new {
            /// For these domains.
            domains: Vec<String> = "Domains",
            /// What is done.
            action: DomainAction = "DomainAction",
        }
        optional {
            /// Servers that must answer.
            required_dns_servers: Vec<String> = "RequiredDNSServers",
            /// An address that must answer.
            required_url_probe: String = "RequiredURLStringProbe",
        }
    }
}

record! {
    /// One rule; the first that fits counts.
    pub struct OnDemandRule {
        new {
            /// What it does.
            action: OnDemandAction = "Action",
        }
        optional {
            /// What `EvaluateConnection` looks at.
            parameters: Vec<OnDemandParameters> = "ActionParameters",
            /// The search domains of the network.
            dns_domain_match: Vec<String> = "DNSDomainMatch",
            /// The name servers of the network.
            dns_server_address_match: Vec<String> = "DNSServerAddressMatch",
            /// The kind of network.
            interface_type_match: InterfaceType = "InterfaceTypeMatch",
            /// The name of the network.
            ssid_match: Vec<String> = "SSIDMatch",
            /// An address that answers.
            url_probe: String = "URLStringProbe",
        }
    }
}

record! {
    /// A connection by an application.
    pub struct VpnProvider {
        optional {
            /// How it signs in.
            authentication_method: VpnAuthentication = "AuthenticationMethod",
            /// The payload with the identity.
            certificate: Uuid = "PayloadCertificateUUID",
            /// The password.
            password: Secret = "Password",
            /// The application, where it has several providers.
            provider_bundle_identifier: String = "ProviderBundleIdentifier",
            /// Its code requirement, Mac only.
            provider_designated_requirement: String = "ProviderDesignatedRequirement",
            /// What it takes.
            provider_type: ProviderType = "ProviderType",
            /// It disconnects when nothing happens.
            disconnect_on_idle: Switch = "DisconnectOnIdle",
            /// Seconds of nothing.
            disconnect_on_idle_timer: i64 = "DisconnectOnIdleTimer",
            /// Everything goes through it.
            include_all_networks: Switch = "IncludeAllNetworks",
            /// Its routes go before others.
            enforce_routes: Switch = "EnforceRoutes",
            /// But the local network.
            exclude_local_networks: Switch = "ExcludeLocalNetworks",
            /// But services of the carrier.
            exclude_cellular_services: Switch = "ExcludeCellularServices",
            /// But push.
            exclude_apns: Switch = "ExcludeAPNs",
            /// But devices that speak with each other.
            exclude_device_communication: Switch = "ExcludeDeviceCommunication",
            /// It connects by itself.
            on_demand_enabled: Switch = "OnDemandEnabled",
            /// The user cannot turn that off.
            on_demand_user_override_disabled: Switch = "OnDemandUserOverrideDisabled",
            /// When.
            on_demand_rules: Vec<OnDemandRule> = "OnDemandRules",
            /// Domains for which it always connects. Deprecated.
            on_demand_match_domains_always: Vec<String> = "OnDemandMatchDomainsAlways",
            /// Domains for which it never does. Deprecated.
            on_demand_match_domains_never: Vec<String> = "OnDemandMatchDomainsNever",
            /// Domains for which it does if needed. Deprecated.
            on_demand_match_domains_on_retry: Vec<String> = "OnDemandMatchDomainsOnRetry",
        }
    }
}

record! {
    /// How a security association is protected.
    pub struct SecurityAssociation {
        optional {
            /// The cipher.
            encryption_algorithm: EncryptionAlgorithm = "EncryptionAlgorithm",
            /// The hash.
            integrity_algorithm: IntegrityAlgorithm = "IntegrityAlgorithm",
            /// The number of the group, such as 19.
            diffie_hellman_group: i64 = "DiffieHellmanGroup",
            /// Minutes, 10 to 1440.
            life_time_in_minutes: i64 = "LifeTimeInMinutes",
        }
    }
}

record! {
    /// IKEv2.
    pub struct Ikev2 {
        new {
            /// The server.
            remote_address: String = "RemoteAddress",
            /// What the device calls itself.
            local_identifier: String = "LocalIdentifier",
            /// What the server calls itself.
            remote_identifier: String = "RemoteIdentifier",
            /// How it signs in.
            authentication_method: Ikev2Authentication = "AuthenticationMethod",
        }
        optional {
            /// The kind of the certificate's key.
            certificate_type: CertificateType = "CertificateType",
            /// The payload with the identity.
            certificate: Uuid = "PayloadCertificateUUID",
            /// The password.
            password: Secret = "Password",
            /// The secret that both sides know.
            shared_secret: Secret = "SharedSecret",
            /// EAP is used.
            extended_auth_enabled: Switch = "ExtendedAuthEnabled",
            /// The user of EAP.
            auth_name: String = "AuthName",
            /// The password of EAP.
            auth_password: Secret = "AuthPassword",
            /// How often it looks for the other side.
            dead_peer_detection_rate: DeadPeerDetection = "DeadPeerDetectionRate",
            /// The common name of the server certificate's issuer.
            server_certificate_issuer_common_name: String = "ServerCertificateIssuerCommonName",
            /// The common name of the server's certificate.
            server_certificate_common_name: String = "ServerCertificateCommonName",
            /// For EAP-TLS.
            tls_minimum_version: TlsVersion = "TLSMinimumVersion",
            /// For EAP-TLS.
            tls_maximum_version: TlsVersion = "TLSMaximumVersion",
            /// The server's networks are taken from its answer.
            use_internal_ip_subnet: Switch = "UseConfigurationAttributeInternalIPSubnet",
            /// The connection does not move between networks.
            disable_mobike: Switch = "DisableMOBIKE",
            /// The server cannot send it elsewhere.
            disable_redirect: Switch = "DisableRedirect",
            /// It disconnects when nothing happens.
            disconnect_on_idle: Switch = "DisconnectOnIdle",
            /// Seconds of nothing.
            disconnect_on_idle_timer: i64 = "DisconnectOnIdleTimer",
            /// The hardware keeps it alive.
            nat_keep_alive_offload: Switch = "NATKeepAliveOffloadEnable",
            /// Seconds, 20 at least.
            nat_keep_alive_interval: i64 = "NATKeepAliveInterval",
            /// Perfect forward secrecy.
            enable_pfs: Switch = "EnablePFS",
            /// Revocation of the server's certificate is asked for.
            enable_certificate_revocation_check: Switch = "EnableCertificateRevocationCheck",
            /// Cellular data where Wi-Fi is bad.
            enable_fallback: Switch = "EnableFallback",
            /// Bytes, 1280 to 1400.
            mtu: i64 = "MTU",
            /// Parameters of the first association.
            ike_association: SecurityAssociation = "IKESecurityAssociationParameters",
            /// Parameters of those below.
            child_association: SecurityAssociation = "ChildSecurityAssociationParameters",
            /// A key against quantum computers. Since iOS 18 and macOS 15.
            ppk: SecretData = "PPK",
            /// Its name.
            ppk_identifier: String = "PPKIdentifier",
            /// Not without it.
            ppk_mandatory: Switch = "PPKMandatory",
            /// The application, where it has several providers.
            provider_bundle_identifier: String = "ProviderBundleIdentifier",
            /// Its code requirement, Mac only.
            provider_designated_requirement: String = "ProviderDesignatedRequirement",
            /// What it takes.
            provider_type: ProviderType = "ProviderType",
            /// Everything goes through it.
            include_all_networks: Switch = "IncludeAllNetworks",
            /// Its routes go before others.
            enforce_routes: Switch = "EnforceRoutes",
            /// But the local network.
            exclude_local_networks: Switch = "ExcludeLocalNetworks",
            /// But services of the carrier.
            exclude_cellular_services: Switch = "ExcludeCellularServices",
            /// But push.
            exclude_apns: Switch = "ExcludeAPNs",
            /// But devices that speak with each other.
            exclude_device_communication: Switch = "ExcludeDeviceCommunication",
            /// It connects by itself.
            on_demand_enabled: Switch = "OnDemandEnabled",
            /// The user cannot turn that off.
            on_demand_user_override_disabled: Switch = "OnDemandUserOverrideDisabled",
            /// When.
            on_demand_rules: Vec<OnDemandRule> = "OnDemandRules",
        }
    }
}

record! {
    /// Whom a connection asks for names.
    pub struct VpnDns {
        new {
            /// How.
            protocol: DnsProtocol = "DNSProtocol",
            /// Whom.
            server_addresses: Vec<String> = "ServerAddresses",
        }
        optional {
            /// The address, by HTTPS.
            server_url: String = "ServerURL",
            /// The name, by TLS.
            server_name: String = "ServerName",
            /// Domains that complete names.
            search_domains: Vec<String> = "SearchDomains",
            /// The domain of the connection.
            domain_name: String = "DomainName",
            /// Only for these domains.
            supplemental_match_domains: Vec<String> = "SupplementalMatchDomains",
            /// They do not complete names.
            supplemental_match_domains_no_search: Switch = "SupplementalMatchDomainsNoSearch",
            /// The payload with the identity that the server asks for.
            certificate: Uuid = "PayloadCertificateUUID",
        }
    }
}

record! {
    /// The proxies of a connection.
    pub struct VpnProxies {
        optional {
            /// A script finds them.
            auto_config: Switch = "ProxyAutoConfigEnable",
            /// They are found by themselves.
            auto_discovery: Switch = "ProxyAutoDiscoveryEnable",
            /// The script.
            auto_config_url: String = "ProxyAutoConfigURLString",
            /// Only for these domains.
            supplemental_match_domains: Vec<String> = "SupplementalMatchDomains",
            /// There is one for HTTP.
            http: Switch = "HTTPEnable",
            /// Its host.
            http_proxy: String = "HTTPProxy",
            /// Its port.
            http_port: i64 = "HTTPPort",
            /// Its user.
            http_username: String = "HTTPProxyUsername",
            /// The password of that user.
            http_password: Secret = "HTTPProxyPassword",
            /// There is one for HTTPS.
            https: Switch = "HTTPSEnable",
            /// Its host.
            https_proxy: String = "HTTPSProxy",
            /// Its port.
            https_port: i64 = "HTTPSPort",
        }
    }
}

record! {
    /// A connection to a private network.
    /// <https://developer.apple.com/documentation/devicemanagement/vpn>
    pub struct VpnPayload {
        new {
            /// The name, as people see it.
            user_defined_name: String = "UserDefinedName",
            /// The kind.
            vpn_type: VpnType = "VPNType",
        }
        optional {
            /// The bundle identifier of the application that makes it.
            vpn_sub_type: String = "VPNSubType",
            /// A connection by an application.
            vpn: VpnProvider = "VPN",
            /// IKEv2.
            ikev2: Ikev2 = "IKEv2",
            /// Whom it asks for names.
            dns: VpnDns = "DNS",
            /// Its proxies.
            proxies: VpnProxies = "Proxies",
        }
    }
}

payload_type!(VpnPayload = "com.apple.vpn.managed");
