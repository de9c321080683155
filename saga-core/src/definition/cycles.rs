//! Finding the circles in which steps wait for each other.
//!
//! The plan's own sort stops at the first. Here a person wants to see them all.

use crate::id::StepIndex;

/// Cycles that have no step in common, at least one of each knot of steps that wait for each other. In each, a step comes
/// before the next, and the last before the first.
pub(super) fn cycles(deps: &[Vec<StepIndex>]) -> Vec<Vec<StepIndex>> {
    let mut found = Vec::new();
    let mut gone = vec![false; deps.len()];
    loop {
        release(deps, &mut gone);
        let cycles = disjoint_cycles(deps, &gone);
        if cycles.is_empty() {
            return found;
        }
        // Without the steps of these, those that only waited for them are released, and cycles behind them show.
        cycles.iter().flatten().for_each(|step| gone[step.at()] = true);
        found.extend(cycles);
    }
}

/// Takes away every step that could start, given that those already gone have ended.
fn release(deps: &[Vec<StepIndex>], gone: &mut [bool]) {
    let mut waiting: Vec<usize> = deps.iter().map(|deps| deps.iter().filter(|dep| !gone[dep.at()]).count()).collect();
    let mut dependents = vec![Vec::new(); deps.len()];
    for (at, deps) in deps.iter().enumerate() {
        deps.iter().filter(|dep| !gone[dep.at()]).for_each(|dep| dependents[dep.at()].push(at));
    }
    let mut ready: Vec<usize> = (0..deps.len()).filter(|at| !gone[*at] && waiting[*at] == 0).collect();
    while let Some(at) = ready.pop() {
        gone[at] = true;
        for dependent in &dependents[at] {
            waiting[*dependent] -= 1;
            if waiting[*dependent] == 0 && !gone[*dependent] {
                ready.push(*dependent);
            }
        }
    }
}

/// Every step that is left has a dependency that is left. Following only the first of them from each step, all walks end
/// in a cycle, and no two cycles meet.
fn disjoint_cycles(deps: &[Vec<StepIndex>], gone: &[bool]) -> Vec<Vec<StepIndex>> {
    let mut found = Vec::new();
    let mut walked_in = vec![usize::MAX; deps.len()];
    for start in (0..deps.len()).filter(|at| !gone[*at]) {
        let mut path = Vec::new();
        let mut here = start;
        while walked_in[here] == usize::MAX {
            walked_in[here] = start;
            path.push(here);
            let Some(next) = deps[here].iter().find(|dep| !gone[dep.at()]) else { break };
            here = next.at();
        }
        // Otherwise the walk ran into an earlier one, whose cycle is known.
        if walked_in[here] == start
            && let Some(from) = path.iter().position(|at| *at == here)
        {
            let cycle = path[from..].iter().rev().filter_map(|at| u32::try_from(*at).ok());
            found.push(cycle.map(StepIndex).collect());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(deps: &[&[u32]]) -> Vec<Vec<u32>> {
        let deps: Vec<Vec<StepIndex>> = deps.iter().map(|deps| deps.iter().copied().map(StepIndex).collect()).collect();
        cycles(&deps).iter().map(|cycle| cycle.iter().map(|step| step.0).collect()).collect()
    }

    #[test]
    fn no_cycle_is_found_where_there_is_none() {
        assert_eq!(found(&[]), Vec::<Vec<u32>>::new());
        assert_eq!(found(&[&[], &[0], &[0, 1], &[2]]), Vec::<Vec<u32>>::new());
    }

    #[test]
    fn a_step_can_wait_for_itself() {
        assert_eq!(found(&[&[], &[0, 1]]), [[1]]);
    }

    #[test]
    fn a_cycle_is_told_in_the_order_of_its_steps() {
        assert_eq!(found(&[&[2], &[0], &[1], &[2]]), [[1, 2, 0]]);
    }

    #[test]
    fn every_knot_is_found_and_what_waits_behind_it_is_not() {
        // 0 and 1 wait for each other; 2 waits for them; 3 and 4 wait for each other, and for 2 first.
        assert_eq!(found(&[&[1], &[0], &[1], &[2, 4], &[3]]), [[1, 0], [4, 3]]);
    }
}
