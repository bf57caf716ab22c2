//! The line from one client to its service: a transport behind a gate. The gate learns of a pause before it lets the next request in.
//! Knows nothing of what requests say.

use std::sync::Arc;
use std::time::Duration;

use crate::answer;
use crate::clock::SharedClock;
use crate::error::{Endpoint, Error, ErrorKind};
use crate::gate::{Gate, OpenGate, Permit};
use crate::limiter::RequestClass;
use crate::transport::{Request, Response, Transport};

/// What clones of a client share to send with.
#[derive(Clone)]
pub(crate) struct Line {
    transport: Arc<dyn Transport>,
    clock: SharedClock,
    gate: Arc<dyn Gate>,
}

impl Line {
    /// A line that everything goes through at once.
    pub(crate) fn new(transport: Arc<dyn Transport>, clock: SharedClock) -> Self {
        Self {
            transport,
            clock,
            gate: Arc::new(OpenGate),
        }
    }

    /// The same line behind a gate.
    pub(crate) fn behind(&self, gate: impl Gate + 'static) -> Self {
        Self {
            gate: Arc::new(gate),
            ..self.clone()
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Waits for the turn of a request.
    pub(crate) async fn enter(
        &self,
        endpoint: Endpoint,
        class: RequestClass,
    ) -> Result<Permit, Error> {
        let permit = self.gate.enter(class).await;
        permit.map_err(|wait| Error::new(endpoint, ErrorKind::BudgetSpent).waiting(Some(wait)))
    }

    /// Sends one request whose turn it is.
    pub(crate) async fn pass(
        &self,
        endpoint: Endpoint,
        request: Request,
    ) -> Result<Response, Error> {
        let response = self.send_past(endpoint, request).await?;
        // Before the next one is let in.
        if let Some(wait) = answer::pause(&response, self.now_ms()) {
            self.pause(wait).await;
        }
        Ok(response)
    }

    /// Sends a request past the gate: one to another host, with a budget of its own.
    pub(crate) async fn send_past(
        &self,
        endpoint: Endpoint,
        request: Request,
    ) -> Result<Response, Error> {
        let sent = self.transport.send(request).await;
        sent.map_err(|error| Error::transport(endpoint, error))
    }

    /// The service has asked for a pause.
    pub(crate) async fn pause(&self, wait: Duration) {
        self.gate.pause(wait).await;
    }
}

/// What a request counts as that somebody waits for.
pub(crate) fn class_of(endpoint: Endpoint) -> RequestClass {
    if endpoint.writes() {
        RequestClass::Write
    } else {
        RequestClass::Read
    }
}
