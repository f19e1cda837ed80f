//! Stub until the oracle is here.
use std::time::Duration;
/// V.
#[derive(Clone, Debug, thiserror::Error)]
#[error("x")]
pub struct Violation;
impl Violation { /// i
 pub fn invariant(&self) -> &'static str { "x" } }
/// O.
pub struct Oracle;
impl Oracle {
 /// n
 pub fn new(_plan: &crate::plan::Plan) -> Self { Self }
 /// s
 pub fn see(&mut self, _record: &crate::history::Record) -> Result<(), Violation> { Ok(()) }
 /// f
 pub fn finish(&mut self, _at: Duration) -> Result<(), Violation> { Ok(()) }
}
