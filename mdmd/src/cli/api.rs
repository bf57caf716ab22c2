//! `mdmd api openapi`: the document of the API of this very program. Speaks to no server.

use super::{Common, Done};

/// The API of this program.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Api {
    /// Print its document (OpenAPI 3.1), as a server of this version answers it at /api/v1/openapi.json.
    Openapi,
}

pub(crate) fn run(common: &Common, command: &Api) -> Done {
    let Api::Openapi = command;
    super::print(common, crate::http::api_document(), |document| {
        println!("{document:#}");
    });
    Ok(())
}
