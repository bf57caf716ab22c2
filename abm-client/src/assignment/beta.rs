//! Tokens with which devices of the organisation join a beta programme.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{AssignmentClient, NO_BODY};
use crate::answer;
use crate::error::{Endpoint, Error, Service};
use crate::secret::SecretText;
use crate::transport::Method;

const TOKENS: Endpoint =
    Endpoint::read(Service::DeviceAssignment, "GET /os-beta-enrollment/tokens");

/// A token for one system and one seeding period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BetaToken {
    /// What a device gets.
    pub token: SecretText,
    /// The programme, for people.
    #[serde(default)]
    pub title: Option<String>,
    /// The system; a Mac is `macOS` or `OSX`.
    #[serde(default)]
    pub os: Option<String>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl AssignmentClient {
    /// The tokens of the organisation.
    ///
    /// # Errors
    /// [`feature_missing`](Error::feature_missing) when AppleSeed for IT is turned off.
    pub async fn beta_tokens(&self) -> Result<Vec<BetaToken>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(
                default,
                rename = "betaEnrollmentTokens",
                alias = "seedBuildTokens",
                deserialize_with = "answer::null_is_default"
            )]
            tokens: Vec<BetaToken>,
        }
        let response = self
            .call(TOKENS, Method::Get, "/os-beta-enrollment/tokens", NO_BODY)
            .await?;
        let answer: Answer = answer::json(TOKENS, response.body.expose())?;
        Ok(answer.tokens)
    }
}
