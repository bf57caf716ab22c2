//! Sign-in at devices that enrol by assignment: a device in Setup Assistant shows its signed machine information, its user signs in,
//! and the way back ends with the enrolment profile. Who it was is kept with session and device.
//!
//! <https://developer.apple.com/documentation/devicemanagement/authenticating-through-web-views>

use super::sign_in::{Arrival, Departure};
use super::{Answer, Org};
use crate::device::Device;
use crate::enrol::machine_info::{
    self, AccountInfo, DeviceAuthority, MachineInfo, MachineInfoError,
};
use crate::error::Error;
use crate::organisation::{Der, Organisation};
use crate::person::{AccountMode, Purpose, SignIn, WebView};

impl Org {
    /// Reads machine information that a device CA which the organisation trusts has signed.
    pub(super) fn machine_info(&self, message: &[u8]) -> Result<MachineInfo, Error> {
        machine_info::receive(message, &self.device_authorities()).map_err(unread)
    }

    /// The same of a device that an account brings. One that belongs to the organisation says which it is; of one that belongs
    /// to its user nobody wants to know.
    pub(super) fn account_info(
        &self,
        message: &[u8],
        mode: AccountMode,
    ) -> Result<AccountInfo, Error> {
        let mut info = machine_info::receive_of_account(message, &self.device_authorities())
            .map_err(unread)?;
        match mode {
            AccountMode::Byod => (info.serial, info.udid) = (None, None),
            AccountMode::Adde if info.serial.is_none() => {
                return Err(unread(MachineInfoError::Field("SERIAL")));
            }
            AccountMode::Adde if info.udid.is_none() => {
                return Err(unread(MachineInfoError::Field("UDID")));
            }
            AccountMode::Adde => {}
        }
        Ok(info)
    }

    fn device_authorities(&self) -> Vec<DeviceAuthority> {
        let mut authorities = vec![DeviceAuthority::apple()];
        authorities.extend(
            self.organisation
                .device_cas
                .iter()
                .filter_map(|der| DeviceAuthority::from_der(&der.0)),
        );
        authorities
    }

    /// Sends the web view of a device to the provider. `header` is `x-apple-aspen-deviceinfo` as it came; the rest as in
    /// [`begin_sign_in`](Self::begin_sign_in).
    ///
    /// # Errors
    /// [`Error::BadInput`] or [`Error::Refused`] as [`Org::enrol`]; [`Error::Precondition`] when the organisation has no sign-in at
    /// devices; the port's, the store's.
    pub async fn begin_web_view(
        &self,
        address: &str,
        header: &str,
        browser: &str,
    ) -> Result<Departure, Error> {
        if self.sign_in()?.web_view == WebView::Off {
            return Err(Error::Precondition(
                "this organisation has no sign-in at devices".to_owned(),
            ));
        }
        let read = machine_info::from_header(header)
            .map_err(|error| Error::bad_input("x-apple-aspen-deviceinfo", error.to_string()));
        let (message, info) = match read.and_then(|m| self.machine_info(&m).map(|info| (m, info))) {
            Ok(read) => read,
            Err(error) => {
                let refused = Err(error);
                return self.note_refusal("sign-in", address, None, refused).await;
            }
        };
        let listed = async {
            let device = self
                .store()
                .device_by_serial(self.id(), &info.serial)
                .await?;
            device
                .filter(|d| d.record.as_ref().is_some_and(|r| !r.gone))
                .map(drop)
                .ok_or(Error::Refused(
                    "this serial number is not in the organisation's device list",
                ))
        };
        let listed = listed.await;
        self.note_refusal("sign-in", address, Some(&info.serial), listed)
            .await?;
        let purpose = Purpose::WebView { info: Der(message) };
        self.begin_sign_in(address, purpose, browser, None).await
    }

    /// Whether a device gets its enrolment profile without anybody having signed in at it.
    pub(super) fn lets_in_unsigned(&self, device: &Device) -> Result<(), Error> {
        let required = web_view(&self.organisation) == WebView::Required;
        // One that is moved here comes by the other address: what a web view does then, nobody documents.
        if required && device.open_move.is_none() {
            return Err(Error::Refused("somebody must sign in at this device first"));
        }
        Ok(())
    }

    /// Where a device's web view begins, if there is one.
    pub(super) fn web_view_url(&self) -> Option<String> {
        (web_view(&self.organisation) != WebView::Off).then(|| {
            let base = &self.settings().enrol_url;
            format!("{base}/mdm/{}/sign-in/device", self.organisation.code)
        })
    }
}

fn unread(error: MachineInfoError) -> Error {
    Error::bad_input("MachineInfo", error.to_string())
}

fn web_view(organisation: &Organisation) -> WebView {
    let setting: Option<&SignIn> = organisation.sign_in.as_ref();
    setting.map(|s| s.web_view).unwrap_or_default()
}

impl Arrival {
    /// The enrolment profile of the device at which somebody has signed in.
    ///
    /// # Errors
    /// As [`Org::enrol`].
    pub async fn enrol_device(&self, address: &str) -> Result<Answer, Error> {
        let Purpose::WebView { info } = &self.attempt.purpose else {
            return Err(Error::Refused("no device waits for this"));
        };
        // Once more by the signature: what the organisation trusts may have changed meanwhile.
        let info = self.org.machine_info(&info.0)?;
        let result = self
            .org
            .again_on_conflict(|| self.org.hand_out_profile(&info, Some(&self.person)))
            .await;
        self.org
            .note_refusal("sign-in", address, Some(&info.serial), result)
            .await
    }
}
