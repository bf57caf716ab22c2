//! abm-client
