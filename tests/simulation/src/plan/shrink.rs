//! A smaller plan that still fails says more.

use super::Plan;

/// The plans that are one step smaller.
pub type Smaller = Vec<Plan>;

/// Every plan that lacks one fault, one event or one object of this one, or is simpler in one other way.
pub fn smaller(plan: &Plan) -> Smaller {
    let mut plans = Vec::new();
    for number in 0..plan.faults.len() {
        let mut less = plan.clone();
        less.faults.remove(number);
        plans.push(less);
    }
    for number in 0..plan.events.len() {
        let mut less = plan.clone();
        less.events.remove(number);
        plans.push(less);
    }
    // The last ones only, so that the numbers in events go on meaning the same objects.
    if plan.objects.len() > 1 {
        let mut less = plan.clone();
        less.objects.pop();
        plans.push(less);
    }
    if plan.connection.webhooks > 0 {
        let mut less = plan.clone();
        less.connection.webhooks -= 1;
        plans.push(less);
    }
    plans
}
