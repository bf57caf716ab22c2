//! mdm-core
