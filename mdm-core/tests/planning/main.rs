//! What planning promises, over rows: filters of members, the window of a project, prerequisites through to the submission, a plan as
//! a document after somebody was taken out, a submitted wave that is looked at again, the stop rule of long holds, and drift by part.

mod dates;
mod document;
mod members;
#[path = "../service_house/mod.rs"]
mod service_house;
mod submitted;

use std::time::Duration;

use mdm_core::check::Check;
use mdm_core::device::Device;
use mdm_core::error::Error;
use mdm_core::ids::{ProjectId, Serial, WaveId};
use mdm_core::migration::what_if::CheckFinding;
use mdm_core::original::Said;
use mdm_core::service::{Dates, Detail, Org, ProjectChange};
use service_house::House;
use service_house::fleet::serial;

const DAY: Duration = Duration::from_hours(24);
const DATES: Dates = Dates {
    deadline: Some(mdm_core::clock::Timestamp::from_millis(
        1_796_893_200_000 + 9 * 86_400_000,
    )),
    available_from: Some(mdm_core::clock::Timestamp::from_millis(
        1_796_893_200_000 + 86_400_000,
    )),
};

/// Phones, tablets and Macs in turn, at two services in turn, of which everything is known.
async fn fleet(house: &House, count: usize) -> Org {
    let differs = |n: usize, device: &mut Device, said: &mut Said| {
        let reading = device.reading.get_or_insert_default();
        if !n.is_multiple_of(2) {
            reading.assigned_server = Some("OTHERS".to_owned());
        }
        reading.product = Some(["iPhone17,1", "iPad16,3", "Mac15,6"][n % 3].to_owned());
        said.shared = Some(false);
        said.return_to_service = Some(false);
    };
    house.fleet(count, differs).await
}

/// The phones of a fleet.
fn phones(count: usize) -> Vec<Serial> {
    (0..count).map(|n| serial(3 * n)).collect()
}

async fn project(org: &Org, house: &House, change: &ProjectChange) -> ProjectId {
    let made = org.new_project("Berlin", house.server, change).await;
    let id = made.unwrap().id;
    org.switch_project(id, true).await.unwrap();
    id
}

async fn wave(org: &Org, project: ProjectId, name: &str, of: &[Serial]) -> WaveId {
    let id = org.new_wave(project, name, None).await.unwrap().id;
    org.add_members(id, of, DATES).await.unwrap();
    id
}

/// A fleet of so many, a project that is switched on, and a wave of these devices.
async fn pilot(
    house: &House,
    count: usize,
    change: &ProjectChange,
    of: &[Serial],
) -> (Org, ProjectId, WaveId) {
    let org = fleet(house, count).await;
    let id = project(&org, house, change).await;
    let pilot = wave(&org, id, "pilot", of).await;
    (org, id, pilot)
}

async fn accepted(org: &Org, wave: WaveId) -> Result<usize, Error> {
    let name = org.standing(wave).await.unwrap().wave.name;
    let digest = org.what_if(wave).await.unwrap().digest;
    org.accept(wave, &digest, &[], "").await?;
    org.submit_accepted(wave, &name).await
}

fn says(result: Result<impl std::fmt::Debug, Error>, sentence: &str) {
    let said = result.unwrap_err().to_string();
    assert!(said.contains(sentence), "{said}");
}

async fn finding(org: &Org, wave: WaveId, of: &Serial, check: Check) -> CheckFinding {
    let report = org.look_at_wave(wave, Detail::Everything).await.unwrap();
    let mut members = report.members.into_iter();
    let found = members.find(|m| m.serial == *of).unwrap().findings;
    found.into_iter().find(|f| f.check == check).unwrap()
}
