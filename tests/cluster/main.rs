//! What only a real API server can show. One etcd and one API server for the whole process, a namespace for each test.

mod fixture;
mod kstatus;
mod manifests;
