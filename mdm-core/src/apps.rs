//! Applications: which of those to be kept are there, what to send for each, and what a device's
//! answer means. When to send, and when enough is enough, is decided elsewhere.
//!
//! A migrating iPhone or iPad has its applications and remembers which were managed. What we do not
//! manage at the end of the hold is removed with its data, for good.
//!
//! <https://developer.apple.com/documentation/devicemanagement/migrating-managed-devices>

use crate::app_state::{AppState, is_same_app};
use crate::wire::command::CommandBody;
use crate::wire::report::{CommandReport, Status};
use crate::wire::reports::InstalledApplication;
use crate::wire::requests::{AppSource, InstallApplication, InstalledApplicationList};

/// The word for an answer that accepts and tells no state, as a Mac gives it.
const ACCEPTED: &str = "Accepted";

/// An application as we ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppRequest<'a> {
    /// The bundle identifier.
    pub bundle_id: &'a str,
    /// The store's number, which is preferred.
    pub store_id: Option<u64>,
    /// The manifest of an application of one's own.
    pub manifest_url: Option<&'a str>,
    /// Whether the device is a Mac.
    pub mac: bool,
}

impl<'a> AppRequest<'a> {
    /// An application of the store by its bundle identifier, for an iPhone or iPad.
    #[must_use]
    pub fn new(bundle_id: &'a str) -> Self {
        Self {
            bundle_id,
            store_id: None,
            manifest_url: None,
            mac: false,
        }
    }

    /// The command. It is the same for an application that is kept and for a new one: it always asks
    /// to take over, as a kept one is on the device and unmanaged at that moment, and one that the
    /// user brought along is managed in the same way.
    #[must_use]
    pub fn command(&self) -> CommandBody {
        let source = match (self.manifest_url, self.store_id) {
            (Some(url), _) => AppSource::Manifest(url.to_owned()),
            (None, Some(id)) => AppSource::StoreId(id),
            (None, None) => AppSource::BundleId(self.bundle_id.to_owned()),
        };
        let request = InstallApplication::taking_over(source);
        CommandBody::InstallApplication(if self.mac { request.for_mac() } else { request })
    }
}

/// Asks which applications are on the device. It lists them all: one that compares identifiers letter by letter would leave out
/// what the runbook spells otherwise.
#[must_use]
pub fn ask_installed() -> CommandBody {
    CommandBody::InstalledApplicationList(InstalledApplicationList::for_migration())
}

/// How a list of wanted applications and a device fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presence {
    /// Wanted and there, in the order of the list.
    pub present: Vec<String>,
    /// Wanted and not there, in the order of the list.
    pub absent: Vec<String>,
}

/// Intersects wanted bundle identifiers with those of what is installed. Case is not minded, and what is wanted twice counts
/// once; an application that is being installed is there.
#[must_use]
pub fn presence<S: AsRef<str>>(wanted: &[S], installed: &[String]) -> Presence {
    let mut result = Presence::default();
    for id in wanted {
        let id = id.as_ref();
        let list = match spelled(id, installed) {
            Some(_) => &mut result.present,
            None => &mut result.absent,
        };
        if !list.iter().any(|known| is_same_app(known, id)) {
            list.push(id.to_owned());
        }
    }
    result
}

/// How a device spells an application, if it has it.
pub(crate) fn spelled<'a>(wanted: &str, installed: &'a [String]) -> Option<&'a str> {
    let mut all = installed.iter().map(String::as_str);
    all.find(|own| is_same_app(own, wanted))
}

/// Applications that were probably managed by the original: they are licensed to the device. A hint
/// for people, as nothing else tells.
#[must_use]
pub fn probably_managed(installed: &[InstalledApplication]) -> Vec<&str> {
    installed
        .iter()
        .filter(|app| app.device_licensed == Some(true))
        .filter_map(|app| app.identifier.as_deref())
        .collect()
}

/// What the answer to `InstallApplication` says of the application. `None` if the command is not
/// settled.
#[must_use]
pub fn state_after_install(report: &CommandReport) -> Option<AppState> {
    let answer = report.install_answer().unwrap_or_default();
    match report.status {
        Status::Acknowledged => Some(match answer.state.as_deref() {
            Some(state) => AppState::of_word(state),
            None => AppState::InProgress(ACCEPTED.to_owned()),
        }),
        Status::Error => Some(match answer.rejection_reason.as_deref() {
            Some("AppAlreadyQueued") => AppState::InProgress("AppAlreadyQueued".to_owned()),
            // It is there; whether it is ours only the list of managed applications tells.
            Some("AppAlreadyInstalled") => AppState::Unknown("AppAlreadyInstalled".to_owned()),
            Some(reason) => AppState::Failed(reason.to_owned()),
            None => AppState::Failed("Error".to_owned()),
        }),
        Status::CommandFormatError => Some(AppState::Failed("CommandFormatError".to_owned())),
        Status::Idle | Status::NotNow => None,
    }
}

/// What a `ManagedApplicationList` answer says, by bundle identifier. An application that is not in
/// it is not managed by command.
#[must_use]
pub fn managed_states(report: &CommandReport) -> Option<Vec<(String, AppState)>> {
    let apps = report.managed_applications()?;
    let states = apps.into_iter().filter_map(|(identifier, app)| {
        Some((identifier, AppState::of_word(app.status.as_deref()?)))
    });
    Some(states.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::requests::ChangeManagementState;

    fn report(status: &str, body: &str) -> CommandReport {
        let text = format!(
            "<plist version=\"1.0\"><dict><key>UDID</key><string>A</string><key>CommandUUID</key>\
             <string>c</string><key>Status</key><string>{status}</string>{body}</dict></plist>"
        );
        CommandReport::parse(text.as_bytes()).unwrap()
    }

    fn installed(ids: &[&str]) -> Vec<InstalledApplication> {
        let app = |id: &&str| InstalledApplication {
            identifier: Some((*id).to_owned()),
            device_licensed: Some(id.contains("work")),
            ..InstalledApplication::default()
        };
        let mut apps: Vec<_> = ids.iter().map(app).collect();
        apps.push(InstalledApplication::default());
        apps
    }

    #[test]
    fn what_is_kept_is_what_is_wanted_and_there() {
        let there = ["net.work.notes", "net.Work.Mail", "net.play"].map(str::to_owned);
        let found = presence(
            &["net.work.mail", "net.gone", "net.work.notes", "NET.GONE"],
            &there,
        );
        assert_eq!(found.present, ["net.work.mail", "net.work.notes"]);
        assert_eq!(found.absent, ["net.gone"]);
        assert_eq!(spelled("net.work.mail", &there), Some("net.Work.Mail"));
        let licensed = installed(&["net.work.notes", "net.Work.Mail", "net.play"]);
        assert_eq!(probably_managed(&licensed), ["net.work.notes"]);
        let none: [&str; 0] = [];
        assert_eq!(presence(&none, &there), Presence::default());
    }

    #[test]
    fn a_device_lists_all_that_it_has_for_it_may_mind_case() {
        match ask_installed() {
            CommandBody::InstalledApplicationList(request) => {
                assert_eq!(request.identifiers, None);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_application_is_asked_for_by_its_best_name() {
        let source = |request: AppRequest<'_>| match request.command() {
            CommandBody::InstallApplication(app) => {
                assert_eq!(
                    app.change_management_state,
                    Some(ChangeManagementState::Managed)
                );
                (app.source, app.install_as_managed)
            }
            other => panic!("{other:?}"),
        };
        let mut request = AppRequest::new("a.b");
        assert_eq!(source(request), (AppSource::BundleId("a.b".into()), None));
        request.store_id = Some(9);
        assert_eq!(source(request), (AppSource::StoreId(9), None));
        request.mac = true;
        assert_eq!(source(request), (AppSource::StoreId(9), Some(true)));
        request.manifest_url = Some("https://x");
        assert_eq!(
            source(request),
            (AppSource::Manifest("https://x".into()), Some(true))
        );
    }

    #[test]
    fn answers_become_states() {
        let check = |status: &str, body: &str, expected: Option<AppState>| {
            assert_eq!(
                state_after_install(&report(status, body)),
                expected,
                "{status} {body}"
            );
        };
        let state = |word: &str| format!("<key>State</key><string>{word}</string>");
        let reason = |word: &str| format!("<key>RejectionReason</key><string>{word}</string>");
        let progress = |word: &str| Some(AppState::InProgress(word.into()));
        let failed = |word: &str| Some(AppState::Failed(word.into()));
        check("Acknowledged", &state("Managed"), Some(AppState::Managed));
        check("Acknowledged", &state("Queued"), progress("Queued"));
        check("Acknowledged", "", progress("Accepted"));
        check(
            "Error",
            &reason("CouldNotVerifyAppID"),
            failed("CouldNotVerifyAppID"),
        );
        check(
            "Error",
            &reason("AppAlreadyQueued"),
            progress("AppAlreadyQueued"),
        );
        let unknown = AppState::Unknown("AppAlreadyInstalled".into());
        check("Error", &reason("AppAlreadyInstalled"), Some(unknown));
        check("Error", "", failed("Error"));
        check("CommandFormatError", "", failed("CommandFormatError"));
        check("NotNow", "", None);
    }

    #[test]
    fn the_list_of_managed_applications_becomes_states() {
        let listed = report(
            "Acknowledged",
            "<key>ManagedApplicationList</key><dict><key>a</key><dict><key>Status</key>\
             <string>Managed</string></dict><key>b</key><dict><key>Status</key>\
             <string>PromptingForLogin</string></dict></dict>",
        );
        let expected = [
            ("a".to_owned(), AppState::Managed),
            (
                "b".to_owned(),
                AppState::NeedsPerson("PromptingForLogin".into()),
            ),
        ];
        assert_eq!(managed_states(&listed).unwrap(), expected);
        assert_eq!(managed_states(&report("Acknowledged", "")), None);
    }
}
