//! A session token of Apple's: one per credential, shared by every task. Fetched once however many wait for it,
//! replaced whenever an answer brings a new one, renewed when it is refused or about to end. Never stored. The
//! organisation API's bearer token is kept in the same way.

use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::secret::SecretText;
use crate::transport::Response;

/// The header that carries the session in requests, and its replacement in answers.
pub(crate) const HEADER: &str = "x-adm-auth-session";

/// What a login brings.
pub(crate) struct Opened {
    pub(crate) token: SecretText,
    /// From when on a new one is asked for; `None` as long as the service accepts it.
    pub(crate) renew_at_ms: Option<i64>,
}

/// The session that one request was sent with.
#[derive(Clone)]
pub(crate) struct SessionPass {
    pub(crate) token: SecretText,
    login: u64,
}

#[derive(Default)]
struct State {
    current: Option<SecretText>,
    renew_at_ms: Option<i64>,
    /// Counts successful logins. An answer to a request from before the last one may not replace the session.
    login: u64,
    /// Counts all attempts, and the last one's failure: who waited for it shares it instead of asking again.
    attempts: u64,
    failure: Option<Error>,
}

/// The session of one server token.
#[derive(Default)]
pub(crate) struct Session {
    state: Mutex<State>,
    /// Held while a login is under way.
    login: futures_util::lock::Mutex<()>,
}

impl Session {
    /// The session to use. `refused` is the one that was refused just now: it will not be returned again.
    ///
    /// `open` asks Apple for a new session; of all callers at the same time only one gets to call it.
    pub(crate) async fn get<F, Fut>(
        &self,
        refused: Option<&SessionPass>,
        now_ms: i64,
        open: F,
    ) -> Result<SessionPass, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Opened, Error>>,
    {
        let attempts = {
            let state = self.state();
            if let Some(pass) = state.usable(refused, now_ms) {
                return Ok(pass);
            }
            state.attempts
        };
        let _one_at_a_time = self.login.lock().await;
        {
            let state = self.state();
            if let Some(pass) = state.usable(refused, now_ms) {
                return Ok(pass);
            }
            if let Some(failure) = state
                .failure
                .as_ref()
                .filter(|_| state.attempts != attempts)
            {
                return Err(failure.clone());
            }
        }
        let opened = open().await;
        let mut state = self.state();
        state.attempts += 1;
        match opened {
            Ok(Opened { token, renew_at_ms }) => {
                state.login += 1;
                state.renew_at_ms = renew_at_ms;
                state.failure = None;
                state.current = Some(token.clone());
                Ok(SessionPass {
                    token,
                    login: state.login,
                })
            }
            Err(error) => {
                state.current = None;
                state.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The session to send with by one who has waited for its turn since it was given `pass`: others' answers may have
    /// brought a newer one, which ends the older. Never the one that was `refused`.
    pub(crate) fn newest(&self, pass: SessionPass, refused: Option<&SessionPass>) -> SessionPass {
        let state = self.state();
        // What is about to end still holds for one request.
        state.usable(refused, i64::MIN).unwrap_or(pass)
    }

    /// The token in use, to be looked for where it must not be.
    pub(crate) fn current(&self) -> Option<SecretText> {
        self.state().current.clone()
    }

    /// Takes over the session that an answer brings, whatever the status of the answer.
    pub(crate) fn observe(&self, used: &SessionPass, response: &Response) {
        let Some(fresh) = response
            .header(HEADER)
            .map(str::trim)
            .filter(|value| !value.is_empty())
        else {
            return;
        };
        let mut state = self.state();
        if state.login == used.login {
            state.current = Some(fresh.into());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could occur.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn usable(&self, refused: Option<&SessionPass>, now_ms: i64) -> Option<SessionPass> {
        let token = self.current.as_ref()?;
        if self.renew_at_ms.is_some_and(|at| now_ms >= at) {
            return None;
        }
        let is_refused = refused.is_some_and(|pass| pass.token == *token);
        (!is_refused).then(|| SessionPass {
            token: token.clone(),
            login: self.login,
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::{Endpoint, ErrorKind, Service};

    async fn login(counter: &AtomicUsize) -> Result<Opened, Error> {
        let n = counter.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::task::yield_now().await;
        Ok(Opened {
            token: format!("session-{n}").into(),
            renew_at_ms: Some(1000),
        })
    }

    #[tokio::test]
    async fn many_waiters_share_one_login() {
        let (session, logins) = (Arc::new(Session::default()), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (session, logins) = (session.clone(), logins.clone());
                tokio::spawn(async move {
                    session
                        .get(None, 0, || login(&logins))
                        .await
                        .map(|p| p.token)
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(
                task.await.expect("runs").expect("a session").expose(),
                "session-1"
            );
        }
        assert_eq!(logins.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_refused_session_is_renewed_once_for_all() {
        let (session, logins) = (Session::default(), AtomicUsize::new(0));
        let old = session
            .get(None, 0, || login(&logins))
            .await
            .expect("a session");
        let (a, b) = tokio::join!(
            session.get(Some(&old), 0, || login(&logins)),
            session.get(Some(&old), 0, || login(&logins))
        );
        assert_eq!(a.expect("renewed").token.expose(), "session-2");
        assert_eq!(b.expect("renewed").token.expose(), "session-2");
        assert_eq!(logins.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_answer_replaces_the_session_unless_a_login_came_in_between() {
        let (session, logins) = (Session::default(), AtomicUsize::new(0));
        let first = session
            .get(None, 0, || login(&logins))
            .await
            .expect("a session");
        session.observe(
            &first,
            &Response::new(500, []).with_header("X-ADM-Auth-Session", "rotated"),
        );
        let rotated = session
            .get(None, 0, || login(&logins))
            .await
            .expect("a session");
        assert_eq!(rotated.token.expose(), "rotated");
        session
            .get(Some(&rotated), 0, || login(&logins))
            .await
            .expect("a new session");
        session.observe(
            &first,
            &Response::new(200, []).with_header("X-ADM-Auth-Session", "late"),
        );
        let now = session
            .get(None, 0, || login(&logins))
            .await
            .expect("a session");
        assert_eq!(now.token.expose(), "session-2");
    }

    #[tokio::test]
    async fn who_waited_for_a_failed_login_shares_its_failure() {
        const CALL: Endpoint = Endpoint::read(Service::DeviceAssignment, "GET /session");
        let (session, tries) = (Session::default(), AtomicUsize::new(0));
        let refuse = || async {
            tries.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Err(Error::new(CALL, ErrorKind::TermsNotAccepted))
        };
        let (a, b, c) = tokio::join!(
            session.get(None, 0, refuse),
            session.get(None, 0, refuse),
            session.get(None, 0, refuse)
        );
        assert!(a.is_err() && b.is_err() && c.is_err());
        assert_eq!(tries.load(Ordering::SeqCst), 1);
        assert!(session.get(None, 0, refuse).await.is_err());
        assert_eq!(tries.load(Ordering::SeqCst), 2, "a later caller asks again");
    }

    #[tokio::test]
    async fn a_session_is_renewed_before_it_ends() {
        let (session, logins) = (Session::default(), AtomicUsize::new(0));
        for (now, expected) in [(0, "session-1"), (999, "session-1"), (1000, "session-2")] {
            let pass = session
                .get(None, now, || login(&logins))
                .await
                .expect("a session");
            assert_eq!(pass.token.expose(), expected);
        }
    }
}
