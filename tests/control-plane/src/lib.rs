//! A real kube-apiserver and etcd for tests and for the demo.
