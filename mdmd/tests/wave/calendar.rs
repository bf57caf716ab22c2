//! Days and hours: the terms of a project, what cannot be one, and what owners are told of when, in words and as a calendar.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::ends;
use super::town::Town;

/// Makes the project with its calendar, after some that cannot be.
pub(super) async fn project_with_its_terms(town: &Town) {
    ends(
        town,
        "project|new|Berlin|--zone|Europe/Nowhere",
        2,
        "must be the name of a time zone",
    )
    .await;
    ends(
        town,
        "project|new|Berlin|--hours|16:00-09:00",
        2,
        "calendar.until",
    )
    .await;
    let made = "project|new|Berlin|--zone|Europe/Berlin|--hours|10:00-15:00|--capacity|2|--blackout|2000-12-24/2000-12-26=holidays";
    ends(town, made, 0, "switched off").await;
    ends(town, made, 2, "is that of another project").await;
    ends(
        town,
        "project|set|Berlin|--days|mon,tue,wed,thu,fri,sat,sun",
        0,
        "revision 2",
    )
    .await;
    let shown = town.json(&["project", "show", "Berlin"]).await;
    assert_eq!(
        shown["project"]["calendar"]["from"], "10:00",
        "a part that was not named was lost"
    );
    let alone = "project|set|Berlin|--blackout|2000-12-24T12:00=holidays";
    ends(town, alone, 2, "2026-12-24T18:00/2026-12-27T06:00").await;
    let turned = "project|set|Berlin|--blackout|2000-12-27T06:00/2000-12-24T12:00";
    ends(town, turned, 2, "calendar.blackouts[0]: keeps nothing free").await;
    let empty = "project|set|Berlin|--blackout|2000-12-24T12:00/2000-12-24T12:00";
    ends(town, empty, 2, "from a time to the same time").await;
    let second = "project|set|Berlin|--blackout|2000-12-24|--blackout|2000-12-26=a\u{1b}b";
    ends(
        town,
        second,
        2,
        "calendar.blackouts[1].why: must be without control characters",
    )
    .await;
    let times = "project|set|Berlin|--blackout|2000-12-24T12:00/2000-12-27T06:00=holidays";
    ends(town, times, 0, "revision 3").await;
    ends(
        town,
        "project|show|Berlin",
        0,
        "2000-12-24T12:00 to 2000-12-27T06:00",
    )
    .await;
}

/// A Python with this module, if there is one: the system's, or that of the environment of tools that `MDMD_TEST_PYTHON` names.
fn python_with(module: &str) -> Option<PathBuf> {
    let own =
        std::env::var_os("MDMD_TEST_PYTHON").map(|place| PathBuf::from(place).join("python3"));
    let mut all = own.into_iter().chain([PathBuf::from("python3")]);
    let found = all.find(|python| {
        let tried = std::process::Command::new(python)
            .args(["-c", &format!("import {module}")])
            .output();
        tried.is_ok_and(|done| done.status.success())
    });
    if found.is_none() {
        eprintln!("SKIPPED in part: python3 has no module {module}");
    }
    found
}

/// The lines of a calendar, unfolded; every rule of RFC 5545 about lines is looked at on the way.
fn lines(calendar: &str) -> Vec<String> {
    assert!(calendar.ends_with("END:VCALENDAR\r\n"), "{calendar}");
    let mut all: Vec<String> = Vec::new();
    for line in calendar.strip_suffix("\r\n").unwrap().split("\r\n") {
        assert!(line.len() <= 75, "longer than 75 bytes: {line}");
        assert!(!line.contains(['\r', '\n']), "a bare line end: {line:?}");
        match line.strip_prefix(' ') {
            Some(rest) => all.last_mut().unwrap().push_str(rest),
            None => all.push(line.to_owned()),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_told_in_their_language_when_it_is_for_them() {
    let town = Town::found(3).await;
    town.furnish().await;
    town.json(&["inventory", "pull"]).await;
    let all = town.serials();
    let [ada, jun, nobody] = [&all[0], &all[1], &all[2]];
    let file = format!(
        "serial,owner,email,time zone,language\n\
         {ada},\"=Ada; \"\"A\"\" Lovelace, {{deadline}}\",ada@example.com,Europe/Berlin,de-AT\n\
         {jun},ジュン\\n,\"jun@example.com:x\",Asia/Tokyo,ja\n"
    );
    let file = town.file("owners.csv", file);
    let import = format!("inventory|import|{file}|--from|Old MDM");
    ends(&town, &import, 0, "").await;
    let wrong = town.file("wrong.csv", format!("serial,language\n{ada},de_AT\n"));
    let import = format!("inventory|import|{wrong}|--from|Old MDM");
    ends(&town, &import, 4, "must be a language").await;
    ends(&town, "project|new|Berlin|--zone|Europe/Paris", 0, "").await;
    ends(&town, "wave|new|pilot|--project|Berlin", 0, "").await;
    let (deadline, from) = ("2026-12-10T17:00:00Z", "2026-12-03T08:00:00Z");
    let add = format!("wave|add|pilot|--all|--deadline|{deadline}|--from|{from}");
    ends(&town, &add, 0, "added 3").await;

    // Whoever takes them along in whatever form takes a seal of the record along.
    let left = async || {
        let record = town.record().await;
        record
            .iter()
            .filter(|(_, what)| what == "record.left")
            .count()
    };
    assert_eq!(left().await, 0);
    // The mail merge, as a spreadsheet reads it.
    let told = town.json(&["wave", "notices", "pilot"]).await;
    assert_eq!(left().await, 1);
    assert!(told["record"]["hash"].is_string() && told["at"].is_string());
    let of = |serial: &str| {
        let rows = told["notices"].as_array().unwrap();
        rows.iter()
            .find(|row| row["serial"] == serial)
            .unwrap()
            .clone()
    };
    assert_eq!(of(ada)["language"], "de");
    assert_eq!(
        of(ada)["local_deadline"],
        "2026-12-10 18:00 (Europe/Berlin)"
    );
    assert_eq!(of(jun)["local_deadline"], "2026-12-11 02:00 (Asia/Tokyo)");
    assert!(
        of(jun)["body"]
            .as_str()
            .unwrap()
            .starts_with("ジュン\\n 様")
    );
    // Where nobody is known, the project's clock and English.
    assert_eq!(of(nobody)["language"], "en");
    assert_eq!(
        of(nobody)["local_deadline"],
        "2026-12-10 18:00 (Europe/Paris)"
    );
    assert!(
        of(nobody)["subject"]
            .as_str()
            .unwrap()
            .contains(nobody.as_str())
    );
    let csv = ends(&town, "wave|notices|pilot", 0, "").await.out;
    let head = "owner,address,device,language,available_from,deadline,deadline_local,subject,text,owner_age_s,report_at,server\r\n";
    assert!(csv.starts_with(head), "{csv}");
    assert!(
        csv.contains("\"'=Ada; \"\"A\"\" Lovelace, {deadline}\",ada@example.com,"),
        "{csv}"
    );
    let out = town.directory.path().join("pilot.csv");
    let into = format!("wave|notices|pilot|--out|{}", out.display());
    ends(&town, &into, 0, "3 rows").await;
    assert_eq!(left().await, 3, "one for each, however many pages it has");
    // The same but for the moment and the ages.
    let what = |csv: &[u8]| {
        let rows = mdmd::csv::rows(csv).unwrap().into_iter();
        rows.map(|row| row.cells[..9].to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(what(&std::fs::read(&out).unwrap()), what(csv.as_bytes()));
    ends(&town, &into, 3, "").await;
    let read = mdmd::csv::rows(csv.as_bytes()).unwrap();
    assert_eq!(read.len(), 4);
    for row in &read[1..] {
        let [age, at, server] = &row.cells[9..] else {
            panic!("{row:?}");
        };
        let known = !row.cells[0].is_empty();
        assert_eq!(age.parse::<u64>().is_ok(), known, "{row:?}");
        assert!(
            at.starts_with("20") && server.starts_with("mdmd "),
            "{row:?}"
        );
    }
    assert_eq!(
        read[1].cells[8],
        of(&read[1].cells[2])["body"].as_str().unwrap()
    );

    // Texts of their own, one language for all, and what cannot be right.
    let body = town.file("text.txt", "{owner}: {deadline}\nThe service desk");
    let set = format!("text|set|en|--subject|Soon: {{device}}|--body|{body}");
    ends(&town, &set, 0, "Soon: {device}").await;
    let told = town
        .json(&["wave", "notices", "pilot", "--language", "en-GB"])
        .await;
    assert_eq!(told["notices"][0]["language"], "en");
    let subjects: Vec<&str> = told["notices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["subject"].as_str().unwrap())
        .collect();
    assert_eq!(subjects.len(), 3);
    assert!(
        subjects.iter().all(|subject| subject.starts_with("Soon: ")),
        "{subjects:?}"
    );
    ends(
        &town,
        "wave|notices|pilot|--language|en_GB",
        2,
        "language: must be",
    )
    .await;
    let wrong = town.file("wrong.txt", "{nobody}");
    ends(
        &town,
        &format!("text|set|en|--subject|x|--body|{wrong}"),
        2,
        "texts.en.body: has a place",
    )
    .await;
    ends(&town, "text|reset|en", 0, "").await;
    let told = town
        .json(&["wave", "notices", "pilot", "--language", "en"])
        .await;
    assert!(
        told["notices"][0]["subject"]
            .as_str()
            .unwrap()
            .starts_with("Your device")
    );

    // The calendar.
    let ics = town.directory.path().join("pilot.ics");
    ends(
        &town,
        &format!("wave|calendar|pilot|--out|{}", ics.display()),
        0,
        "",
    )
    .await;
    let calendar = std::fs::read_to_string(&ics).unwrap();
    let unfolded = lines(&calendar);
    let count = |line: &str| unfolded.iter().filter(|l| *l == line).count();
    assert_eq!(
        (
            count("BEGIN:VEVENT"),
            count("END:VEVENT"),
            count("DTEND:20261210T170000Z")
        ),
        (3, 3, 3)
    );
    // What is published invites nobody, and says whose it is.
    assert!(!calendar.contains("ATTENDEE") && !calendar.contains("ada@example.com"));
    assert_eq!(count("ORGANIZER;CN=\"Town\":invalid:nomail"), 3);
    let summary = format!(
        "SUMMARY:Ihr Gerät {ada} wechselt bis 2026-12-10 18:00 (Europe/Berlin) zu einem neuen Verwaltungsdienst"
    );
    assert_eq!(count(&summary), 1, "{unfolded:#?}");
    let told = "DESCRIPTION:Guten Tag =Ada\\; \"A\" Lovelace\\, {deadline}\\,\\n\\nTown bringt";
    assert!(
        unfolded.iter().any(|line| line.starts_with(told)),
        "{unfolded:#?}"
    );
    let uids: std::collections::BTreeSet<&String> =
        unfolded.iter().filter(|l| l.starts_with("UID:")).collect();
    assert_eq!(uids.len(), 3);
    // And as a parser that nobody here wrote reads it.
    if let Some(python) = python_with("icalendar") {
        let script = "import icalendar,json,sys\n\
            c=icalendar.Calendar.from_ical(open(sys.argv[1],'rb').read())\n\
            assert not c.errors\n\
            print(json.dumps([[str(e['SUMMARY']),str(e['DESCRIPTION']),e.decoded('DTEND').isoformat(),str(e.get('ORGANIZER')),e.errors] for e in c.walk('VEVENT')]))";
        let done = std::process::Command::new(python)
            .args(["-c", script])
            .arg(&ics)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let read: Vec<Value> = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(read.len(), 3);
        for entry in &read {
            assert_eq!(entry[2], "2026-12-10T17:00:00+00:00");
            assert_eq!(entry[4], json!([]));
        }
        let found = |serial: &String| {
            read.iter()
                .find(|e| e[0].as_str().unwrap().contains(serial.as_str()))
                .unwrap()
        };
        assert_eq!(found(ada)[1], of(ada)["body"]);
        assert_eq!(found(jun)[1], of(jun)["body"]);
    }

    // Who is withdrawn is told no more, and the entry says so; it is the same entry.
    ends(
        &town,
        &format!("wave|remove|pilot|{jun}|--reason|stays"),
        0,
        "removed 1",
    )
    .await;
    let told = town.json(&["wave", "notices", "pilot"]).await;
    assert_eq!(told["notices"].as_array().unwrap().len(), 2);
    let again = ends(&town, "wave|calendar|pilot", 0, "").await.out;
    let again = lines(&again);
    assert_eq!(again.iter().filter(|l| *l == "STATUS:CANCELLED").count(), 1);
    let later: std::collections::BTreeSet<&String> =
        again.iter().filter(|l| l.starts_with("UID:")).collect();
    assert_eq!(later, uids);
    ends(&town, "wave|calendar|nowhere", 3, "").await;
}
