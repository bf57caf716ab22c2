use crate::wire::report::CommandReport;

fn report(body: &str) -> CommandReport {
    let text = format!(
        "<plist version=\"1.0\"><dict><key>UDID</key><string>A</string>\
         <key>CommandUUID</key><string>c-1</string>\
         <key>Status</key><string>Acknowledged</string>{body}</dict></plist>"
    );
    CommandReport::parse(text.as_bytes()).unwrap()
}

#[test]
fn device_information_leaves_absent_what_was_not_said() {
    let view = report(
        "<key>QueryResponses</key><dict><key>AwaitingConfiguration</key><true/>\
         <key>SerialNumber</key><string>C02X</string>\
         <key>MDMOptions</key><dict><key>ActivationLockAllowedWhileSupervised</key><false/></dict>\
         <key>ServiceSubscriptions</key><array><dict><key>Slot</key><string>CTSubscriptionSlotOne</string>\
         <key>IMEI</key><string>35 000000 000000 1</string></dict></array></dict>",
    )
    .device_information()
    .unwrap();
    assert_eq!(view.awaiting_configuration, Some(true));
    assert_eq!(view.serial.as_deref(), Some("C02X"));
    assert_eq!(view.is_supervised, None);
    let options = view.mdm_options.unwrap();
    assert_eq!(
        options.activation_lock_allowed_while_supervised,
        Some(false)
    );
    assert_eq!(
        view.subscriptions.unwrap()[0].imei_digits().as_deref(),
        Some("350000000000001")
    );
    assert!(report("").device_information().is_none());
}

#[test]
fn security_info_is_viewed_without_the_envelope() {
    let answer = report(
        "<key>SecurityInfo</key><dict><key>FDE_Enabled</key><true/>\
         <key>FDE_HasPersonalRecoveryKey</key><true/>\
         <key>FDE_PersonalRecoveryKeyCMS</key><data>AAAA</data>\
         <key>FDE_PersonalRecoveryKeyDeviceKey</key><string>C02X</string>\
         <key>IsRecoveryLockEnabled</key><false/>\
         <key>ManagementStatus</key><dict><key>EnrolledViaDEP</key><true/></dict></dict>",
    );
    let view = answer.security_info().unwrap();
    assert_eq!(view.file_vault.enabled, Some(true));
    assert_eq!(view.file_vault.has_institutional_recovery_key, None);
    assert_eq!(view.management.unwrap().enrolled_via_assignment, Some(true));
    assert_eq!(view.is_recovery_lock_enabled, Some(false));
    assert!(answer.recovery_key_envelope().unwrap().matches(&[0, 0, 0]));
    assert!(view.file_vault.recovery_key_envelope.is_some());
    assert!(view.other.is_empty());
}

#[test]
fn applications_are_listed() {
    let installed = report(
        "<key>InstalledApplicationList</key><array><dict><key>Identifier</key><string>a.b</string>\
         <key>DeviceBasedVPP</key><true/></dict><dict><key>Name</key><string>No id</string></dict></array>",
    )
    .installed_applications()
    .unwrap();
    assert_eq!(installed.len(), 2);
    assert_eq!(installed[0].device_licensed, Some(true));
    assert_eq!(installed[1].identifier, None);

    let managed = report(
        "<key>ManagedApplicationList</key><dict><key>z.z</key><dict><key>Status</key>\
         <string>Managed</string></dict><key>a.b</key><dict><key>Status</key><string>Failed</string>\
         </dict></dict>",
    )
    .managed_applications()
    .unwrap();
    let shown: Vec<_> = managed
        .iter()
        .map(|(id, a)| (id.as_str(), a.status.as_deref()))
        .collect();
    assert_eq!(shown, [("a.b", Some("Failed")), ("z.z", Some("Managed"))]);

    let answer =
        report("<key>Identifier</key><string>a.b</string><key>State</key><string>Queued</string>")
            .install_answer()
            .unwrap();
    assert_eq!(answer.state.as_deref(), Some("Queued"));
    assert!(
        report("<key>Identifier</key><string>a.b</string>")
            .install_answer()
            .is_none()
    );
}

#[test]
fn profiles_certificates_users_and_settings_are_listed() {
    let profiles = report(
        "<key>ProfileList</key><array><dict><key>PayloadIdentifier</key><string>p</string>\
         <key>PayloadContent</key><array><dict><key>PayloadType</key><string>com.apple.mdm</string>\
         </dict></array></dict></array>",
    )
    .profiles()
    .unwrap();
    assert_eq!(
        profiles[0].payload_types().collect::<Vec<_>>(),
        ["com.apple.mdm"]
    );

    let certificates = report(
        "<key>CertificateList</key><array><dict><key>CommonName</key><string>x</string>\
         <key>Data</key><data>AQI=</data><key>IsIdentity</key><true/></dict></array>",
    )
    .certificates()
    .unwrap();
    assert_eq!(certificates[0].der.as_deref(), Some(&[1, 2][..]));

    let users = report(
        "<key>Users</key><array><dict><key>UserName</key><string>rk</string>\
         <key>HasSecureToken</key><true/></dict></array>",
    )
    .users()
    .unwrap();
    assert_eq!(users[0].has_secure_token, Some(true));

    for body in [
        "<key>Settings</key><array><dict><key>Item</key><string>DeviceName</string>\
         <key>Status</key><string>Error</string></dict></array>",
        "<key>Settings</key><dict><key>Item</key><string>DeviceName</string>\
         <key>Status</key><string>Error</string></dict>",
    ] {
        let results = report(body).settings_results().unwrap();
        assert_eq!(results[0].status.as_deref(), Some("Error"));
    }
    assert_eq!(
        report("<key>PasswordVerified</key><true/>").recovery_lock_verified(),
        Some(true)
    );
}
