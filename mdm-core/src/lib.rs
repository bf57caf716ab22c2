//! The migration library: everything that a destination MDM server needs to take over Apple devices without erasing them,
//! for embedding into a server that exists or under `mdmd`.
//!
//! Reading order: [`wire`] (Apple's words), the nouns ([`organisation`], [`device`], [`enrollment`]), [`migration`] (the two
//! machines), [`store`] (reading, and one way of writing), and the service that ties them together.
//!
//! Acknowledged means on disk: whatever a device, a person or a host was told to be done is durable (see [`store`]).

pub mod activation_lock;
pub mod app_state;
pub mod apps;
pub mod audit;
pub mod bootstrap_token;
pub mod ca;
pub mod clock;
pub mod device;
pub mod enrol;
pub mod enrollment;
pub mod error;
pub mod filevault;
pub mod identity;
pub mod ids;
pub mod job;
pub mod migration;
pub mod organisation;
pub mod queue;
pub mod sealed;
pub mod secret;
pub mod service;
pub mod store;
pub mod vault;
pub mod wave;
pub mod wire;

#[cfg(test)]
mod testing;
