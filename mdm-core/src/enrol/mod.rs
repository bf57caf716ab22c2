//! What happens before a device has an identity: its signed machine information comes in, a signed
//! enrolment profile goes out. Whose device it is and whether it may enrol is decided elsewhere.

pub mod machine_info;
pub mod minimum;
pub mod profile;
pub mod protocol;
