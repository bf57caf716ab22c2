//! The documented answer to every message in every state of a device: three after one another in every order, so that each also
//! comes twice and late, under the identity that speaks, under one that is about to, and under one that has spoken.

use mdm_core::service::Answer;

use super::*;

/// How far an enrolment is, as its own messages brought it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unknown,
    Pending,
    Enrolled,
    CheckedOut,
}

/// What a message is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// 200 without a body.
    Empty,
    /// 200 without a body, or with the next command.
    NextCommand,
    /// 200 with a property list that is no command.
    Plist,
    /// 200 with JSON.
    Json,
    /// 410.
    Gone,
    /// 400.
    Refused,
}

/// The answer that is documented, and where it leads.
fn documented(phase: Phase, kind: &Kind) -> (Says, Phase) {
    use Phase::{CheckedOut, Enrolled, Pending, Unknown};
    let says = match (phase, kind.name) {
        (Unknown, "Authenticate") => return (Says::Empty, Pending),
        // Nobody whom we know.
        (Unknown, _) => Says::Refused,
        (_, "TokenUpdate") => return (Says::Empty, Enrolled),
        (_, "CheckOut") => return (Says::Empty, CheckedOut),
        // The same certificate again is the same message again.
        (_, "Authenticate" | "user CheckOut") => Says::Empty,
        (Enrolled, _) if !kind.checks_in => Says::NextCommand,
        // Its result is heard, and no command is delivered.
        (_, _) if !kind.checks_in => Says::Empty,
        (Enrolled, "user TokenUpdate" | "SetBootstrapToken" | "DeclarativeManagement status") => {
            Says::Empty
        }
        (Enrolled, "GetBootstrapToken" | "ReturnToService") => Says::Plist,
        (Enrolled, "DeclarativeManagement") => Says::Json,
        // As this organisation has it: its network users are not managed.
        (Enrolled, "UserAuthenticate") => Says::Gone,
        // A service that nobody offers, and whatever needs a channel that stands.
        _ => Says::Refused,
    };
    (says, phase)
}

fn said(answer: &Result<Answer, Error>) -> Says {
    match answer {
        Ok(Answer::Empty) => Says::Empty,
        Ok(Answer::Json(_)) => Says::Json,
        Ok(Answer::Gone) => Says::Gone,
        Ok(answer @ Answer::Plist(_)) if command(answer).is_some() => Says::NextCommand,
        Ok(Answer::Plist(_)) => Says::Plist,
        Ok(other) => panic!("no message of a device is answered so: {other:?}"),
        Err(error) => {
            assert!(error.is_callers_fault(), "{error}");
            Says::Refused
        }
    }
}

/// A device and what we think of it.
struct Walk {
    gadget: Gadget,
    phase: Phase,
    uuid: String,
    told: Vec<&'static str>,
}

impl Walk {
    fn of(gadget: Gadget, phase: Phase) -> Self {
        Self {
            gadget,
            phase,
            uuid: "5C1B7C26-6C1C-4B0F-8E34-6A39D0C9B7E1".to_owned(),
            told: Vec::new(),
        }
    }

    /// Sends a message and sees whether the answer is the documented one.
    async fn send(&mut self, house: &House, kind: &Kind) {
        let sent = message(kind, &self.gadget, &self.uuid);
        let answer = send(house, &self.gadget, kind, &sent).await;
        let (expected, phase) = documented(self.phase, kind);
        self.told.push(kind.name);
        let last = &self.told[self.told.len().saturating_sub(6)..];
        let case = format!("{:?}: {last:?}", self.phase);
        match (said(&answer), expected) {
            (Says::Empty, Says::NextCommand) => {}
            (said, expected) => assert_eq!(said, expected, "{case}: {answer:?}"),
        }
        if let Some((uuid, _)) = answer.as_ref().ok().and_then(command) {
            self.uuid = uuid;
        }
        laws(&case, house, &self.gadget, &answer).await;
        self.phase = phase;
    }
}

/// A sequence in which every three of `n` stand after one another somewhere (de Bruijn's, by Lyndon words).
fn every_three(n: usize) -> Vec<usize> {
    fn walk(t: usize, p: usize, n: usize, a: &mut [usize; 4], all: &mut Vec<usize>) {
        if t > 3 {
            if 3 % p == 0 {
                all.extend(&a[1..=p]);
            }
            return;
        }
        a[t] = a[t - p];
        walk(t + 1, p, n, a, all);
        for next in a[t - p] + 1..n {
            a[t] = next;
            walk(t + 1, t, n, a, all);
        }
    }
    let mut all = Vec::new();
    walk(1, 1, n, &mut [0; 4], &mut all);
    all
}

#[tokio::test]
async fn every_three_messages_in_every_order_get_their_documented_answers() {
    let house = House::new().await;
    let order = every_three(KINDS.len());
    let mut threes: std::collections::BTreeSet<&[usize]> = order.windows(3).collect();
    assert_eq!(
        threes.len(),
        KINDS.len().pow(3) - 2,
        "but for the two over the end"
    );
    let mut walks = 0;
    // Pieces overlap by three, so that no three are torn apart.
    let last = &order[order.len() - 403..];
    for piece in order.windows(403).step_by(400).chain([last]) {
        walks += 1;
        let gadget = house.mac(&format!("MSGORDER{walks}")).await;
        let mut walk = Walk::of(gadget, Phase::Unknown);
        for (n, at) in piece.iter().enumerate() {
            walk.send(&house, &KINDS[*at]).await;
            if n == 0 && walks > 1 {
                // It spoke out of turn, and is somebody from here on.
                walk.send(&house, &KINDS[0]).await;
            }
        }
        let whole = if walks > 1 { &piece[1..] } else { piece };
        for three in whole.windows(3) {
            threes.remove(three);
        }
    }
    assert!(threes.is_empty(), "{threes:?}");
}

#[tokio::test]
async fn what_comes_under_another_identity_of_the_device_is_answered_by_what_that_one_is_worth() {
    let house = House::new().await;
    let changes = |kind: &&Kind| !["TokenUpdate", "CheckOut"].contains(&kind.name);
    for (n, kind) in KINDS.iter().enumerate() {
        let serial = format!("MSGLATE{n}");
        let stranger = house.mac(&serial).await;
        // Nobody knows it yet: all that it says but its Authenticate is refused.
        let mut walk = Walk::of(stranger, Phase::Unknown);
        if n > 0 {
            walk.send(&house, kind).await;
            assert_eq!(walk.phase, Phase::Unknown);
        }
        let first = house.mac(&serial).await;
        house.enrol(&first).await;
        let mut first = Walk::of(first, Phase::Enrolled);
        // The second is about to speak: the first is heard as before, and no command goes to the second.
        let second = house.mac(&serial).await;
        house.authenticate(&second).await.unwrap();
        let mut second = Walk::of(second, Phase::Pending);
        for kind in [kind].into_iter().filter(changes) {
            second.send(&house, kind).await;
            first.send(&house, kind).await;
        }
        // From its first TokenUpdate on the first is nobody, whatever it says and however late.
        house.token_update(&second.gadget, "").await.unwrap();
        second.phase = Phase::Enrolled;
        let late = message(kind, &first.gadget, &first.uuid);
        for _ in 0..2 {
            let answer = send(&house, &first.gadget, kind, &late).await;
            assert_eq!(said(&answer), Says::Refused, "{} late", kind.name);
        }
        second.send(&house, kind).await;
    }
}
