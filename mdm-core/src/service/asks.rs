//! What a step asks, as a command: the features know *what* to say, the steps knew *when*.

use uuid::Uuid;

use crate::apps::{self, AppRequest};
use crate::device::Platform;
use crate::migration::{Ask, ESCROW_PROFILE, PinnedRunbook};
use crate::organisation::{Der, Organisation};
use crate::secret::Secret;
use crate::vault::EscrowVault;
use crate::wire::command::CommandBody;
use crate::wire::requests::{
    DeclarativeManagement, DeviceInformation, ManagedApplicationList, ProfileList, Query,
};

/// Namespace of escrow profiles' UUIDs.
const ESCROW: Uuid = Uuid::from_u128(0x6d64_6d64_0000_4573_6372_0000_6f77_5072);

/// What a command will say.
pub(crate) enum Body {
    /// Made already.
    Made(Box<CommandBody>),
    /// Carries the password before recoveryOS, which is in the vault or made for it: filled in by whoever commits.
    RecoveryLock,
    /// Installs the configuration profile whose content this is, sealed: it is opened when the command is handed out.
    SealedProfile(Der),
}

/// The command for an ask. `None` when the organisation or the runbook lacks what it needs.
pub(crate) fn build(
    ask: &Ask,
    organisation: &Organisation,
    plan: Option<&PinnedRunbook>,
    platform: Platform,
) -> Option<Body> {
    if let Ask::InstallProfile { identifier } = ask {
        let profile = plan?
            .profiles
            .iter()
            .find(|p| p.identifier == *identifier)?;
        return Some(if EscrowVault::is_sealed(&profile.content.0) {
            Body::SealedProfile(profile.content.clone())
        } else {
            // Pinned before contents were sealed.
            Body::Made(Box::new(CommandBody::install_profile(Secret::new(
                profile.content.0.clone(),
            ))))
        });
    }
    if matches!(ask, Ask::SetRecoveryLock | Ask::VerifyRecoveryLock) {
        return Some(Body::RecoveryLock);
    }
    made(ask, organisation, plan, platform).map(|body| Body::Made(Box::new(body)))
}

fn made(
    ask: &Ask,
    organisation: &Organisation,
    plan: Option<&PinnedRunbook>,
    platform: Platform,
) -> Option<CommandBody> {
    Some(match ask {
        Ask::Identify => CommandBody::DeviceInformation(DeviceInformation::for_set_up()),
        Ask::Awaiting => CommandBody::DeviceInformation(DeviceInformation::of([
            Query::SerialNumber,
            Query::AwaitingConfiguration,
        ])),
        // Above.
        Ask::InstallProfile { .. } | Ask::SetRecoveryLock | Ask::VerifyRecoveryLock => return None,
        Ask::InstallEscrow => {
            let escrow = organisation.escrow.as_ref()?;
            let name = organisation
                .settings
                .display_name
                .as_deref()
                .unwrap_or(&organisation.name);
            // From the certificate, so that the same profile always has the same UUID and another certificate another.
            let uuid = Uuid::new_v5(&ESCROW, &escrow.certificate.0);
            let profile =
                crate::filevault::escrow_profile(ESCROW_PROFILE, uuid, name, &escrow.certificate.0);
            CommandBody::install_profile(Secret::new(profile.encode().to_vec()))
        }
        Ask::Profiles => CommandBody::ProfileList(ProfileList::default().managed_only(false)),
        Ask::InstalledApps { .. } => apps::ask_installed(),
        Ask::InstallApp { bundle_id, .. } => {
            // Whether it is kept or new, the command is the same: a device takes over what is there and installs what is not.
            let app = plan?.apps.iter().find(|a| a.bundle_id == *bundle_id)?;
            let mut request = AppRequest::new(&app.bundle_id);
            request.store_id = app.store_id;
            request.manifest_url = app.manifest_url.as_deref();
            request.mac = platform.is_mac();
            request.command()
        }
        Ask::ManagedApps { identifiers } => {
            CommandBody::ManagedApplicationList(ManagedApplicationList::of(identifiers))
        }
        Ask::Security => CommandBody::SecurityInfo,
        Ask::BypassCode => CommandBody::ActivationLockBypassCode,
        Ask::Declare | Ask::DeclareApps { .. } => {
            CommandBody::DeclarativeManagement(DeclarativeManagement::default())
        }
        Ask::Release => CommandBody::DeviceConfigured,
    })
}
