//! A kube client over a closure.
