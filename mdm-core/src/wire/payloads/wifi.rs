//! `com.apple.wifi.managed`: a network, such as one that must not vanish with the original's profiles.

use uuid::Uuid;

use super::payload_type;
use crate::secret::Secret;
use crate::wire::keys::{numbers, record, words};

words! {
    /// How a network is encrypted.
    pub enum WifiEncryption {
        /// Broken.
        Wep = "WEP",
        /// Old.
        Wpa = "WPA",
        /// WPA2, and WPA3 on newer systems.
        Wpa2 = "WPA2",
        /// WPA3.
        Wpa3 = "WPA3",
        /// Any of these.
        Any = "Any",
        /// Not at all.
        None = "None",
    }
}

words! {
    /// How a proxy is found.
    pub enum ProxyType {
        /// There is none.
        None = "None",
        /// It is named here.
        Manual = "Manual",
        /// By a script.
        Auto = "Auto",
    }
}

numbers! {
    /// A method of EAP.
    pub enum EapType {
        /// TLS.
        Tls = 13,
        /// LEAP.
        Leap = 17,
        /// EAP-SIM.
        Sim = 18,
        /// TTLS.
        Ttls = 21,
        /// EAP-AKA.
        Aka = 23,
        /// PEAP.
        Peap = 25,
        /// EAP-FAST.
        Fast = 43,
    }
}

words! {
    /// What goes on inside of TTLS.
    pub enum TtlsInnerAuthentication {
        /// The password in clear.
        Pap = "PAP",
        /// Another EAP.
        Eap = "EAP",
        /// CHAP.
        Chap = "CHAP",
        /// MSCHAP.
        Mschap = "MSCHAP",
        /// MSCHAPv2.
        Mschapv2 = "MSCHAPv2",
    }
}

words! {
    /// When a Mac uses the network.
    pub enum SetupMode {
        /// Before anybody logs in.
        System = "System",
        /// With the name and password of the login window.
        Loginwindow = "Loginwindow",
    }
}

record! {
    /// The sign-in to a network of an organisation.
    pub struct EapConfiguration {
        new {
            /// The methods.
            accept_eap_types: Vec<EapType> = "AcceptEAPTypes",
        }
        optional {
            /// The name of the user.
            user_name: String = "UserName",
            /// The password of the user.
            user_password: Secret = "UserPassword",
            /// Payloads with certificates that are trusted here.
            certificate_anchors: Vec<Uuid> = "PayloadCertificateAnchorUUID",
            /// Names of certificates, older.
            tls_trusted_certificates: Vec<String> = "TLSTrustedCertificates",
            /// Names of servers that are trusted here.
            tls_trusted_server_names: Vec<String> = "TLSTrustedServerNames",
            /// The user may trust others.
            tls_allow_trust_exceptions: bool = "TLSAllowTrustExceptions",
            /// There must be a certificate of the device as well.
            tls_certificate_is_required: bool = "TLSCertificateIsRequired",
            /// What goes on inside of TTLS.
            ttls_inner_authentication: TtlsInnerAuthentication = "TTLSInnerAuthentication",
            /// Such as `1.2`.
            tls_minimum_version: super::TlsVersion = "TLSMinimumVersion",
            /// Such as `1.3`.
            tls_maximum_version: super::TlsVersion = "TLSMaximumVersion",
            /// The name that everybody can see.
            outer_identity: String = "OuterIdentity",
            /// EAP-FAST uses a credential that is there.
            eap_fast_use_pac: bool = "EAPFASTUsePAC",
            /// EAP-FAST makes one.
            eap_fast_provision_pac: bool = "EAPFASTProvisionPAC",
            /// EAP-FAST makes one without checking the server.
            eap_fast_provision_pac_anonymously: bool = "EAPFASTProvisionPACAnonymously",
            /// Random numbers of EAP-SIM, 2 or 3.
            eap_sim_number_of_rands: i64 = "EAPSIMNumberOfRANDs",
            /// `ActiveDirectory`: the Mac's own account.
            system_mode_credentials_source: String = "SystemModeCredentialsSource",
            /// The Mac's own account of a directory.
            system_mode_use_open_directory: bool = "SystemModeUseOpenDirectoryCredentials",
            /// The password is asked for each time.
            one_time_user_password: bool = "OneTimeUserPassword",
        }
    }
}

record! {
    /// What goes first.
    pub struct QosMarkingPolicy {
        optional {
            /// Applications.
            allow_list: Vec<String> = "QoSMarkingAllowListAppIdentifiers",
            /// Applications, under the old name.
            whitelisted: Vec<String> = "QoSMarkingWhitelistedAppIdentifiers",
            /// Calls of FaceTime and the like.
            apple_audio_video_calls: bool = "QoSMarkingAppleAudioVideoCalls",
            /// Marking is on.
            enabled: bool = "QoSMarkingEnabled",
        }
    }
}

record! {
    /// A network.
    /// <https://developer.apple.com/documentation/devicemanagement/wifi>
    pub struct WifiPayload {
        optional {
            /// The name.
            ssid: String = "SSID_STR",
            /// The network does not tell its name.
            hidden: bool = "HIDDEN_NETWORK",
            /// It is joined without asking.
            auto_join: bool = "AutoJoin",
            /// Without one the network is open, or asks for a sign-in.
            password: Secret = "Password",
            /// How it is encrypted.
            encryption: WifiEncryption = "EncryptionType",
            /// The payload with the device's identity for this network.
            certificate: Uuid = "PayloadCertificateUUID",
            /// The sign-in to a network of an organisation.
            eap: EapConfiguration = "EAPClientConfiguration",
            /// How the proxy is found.
            proxy_type: ProxyType = "ProxyType",
            /// The host of the proxy.
            proxy_server: String = "ProxyServer",
            /// The port of the proxy.
            proxy_port: i64 = "ProxyServerPort",
            /// The user of the proxy.
            proxy_username: String = "ProxyUsername",
            /// The password of the proxy.
            proxy_password: Secret = "ProxyPassword",
            /// The script that finds the proxy.
            proxy_pac_url: String = "ProxyPACURL",
            /// Without proxy where the script cannot be loaded.
            proxy_pac_fallback_allowed: bool = "ProxyPACFallbackAllowed",
            /// The page of a hotspot is not shown. Not on a Mac.
            captive_bypass: bool = "CaptiveBypass",
            /// The hardware address is the real one. Since iOS 14 and macOS 15.
            disable_mac_randomization: bool = "DisableAssociationMACRandomization",
            /// IPv6 is used. Mac only.
            enable_ipv6: bool = "EnableIPv6",
            /// A TTLS, PEAP or FAST network asks for two certificates.
            tls_certificate_required: bool = "TLSCertificateRequired",
            /// When a Mac uses it.
            setup_modes: Vec<SetupMode> = "SetupModes",
            /// What goes first.
            qos_marking_policy: QosMarkingPolicy = "QoSMarkingPolicy",
            /// It is a hotspot of Passpoint.
            is_hotspot: bool = "IsHotspot",
            /// The operator's name, as people see it.
            displayed_operator_name: String = "DisplayedOperatorName",
            /// The domain of the hotspot.
            domain_name: String = "DomainName",
            /// The hotspot's identifier.
            hessid: String = "HESSID",
            /// Consortia of roaming.
            roaming_consortium_ois: Vec<String> = "RoamingConsortiumOIs",
            /// Roaming is allowed.
            service_provider_roaming_enabled: bool = "ServiceProviderRoamingEnabled",
            /// Realms.
            nai_realm_names: Vec<String> = "NAIRealmNames",
            /// Countries and networks, six digits each.
            mcc_and_mncs: Vec<String> = "MCCAndMNCs",
        }
    }
}

payload_type!(WifiPayload = "com.apple.wifi.managed");

impl WifiPayload {
    /// A visible network with a password or an open one, joined without asking.
    #[must_use]
    pub fn new(ssid: impl Into<String>, password: Option<Secret>) -> Self {
        let network = Self::default().ssid(ssid).hidden(false).auto_join(true);
        match password {
            Some(password) => network.password(password).encryption(WifiEncryption::Any),
            None => network.encryption(WifiEncryption::None),
        }
    }
}
