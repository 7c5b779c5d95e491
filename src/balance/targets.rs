//! The endpoints that one view names, made ready for picking: calls pick many times from one view.

use std::{collections::HashMap, sync::Arc};

use tokio::time::Instant;

use super::{
    endpoint::Endpoint,
    pick::{Candidate, Weights, better},
};
use crate::{
    discovery::View,
    model::{Address, Registration, Revision},
};

/// Where calls can go.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// What they were made of.
    view: Arc<View>,
    near: Group,
    far: Group,
}

/// Endpoints that are as good as each other but for their load.
#[derive(Debug, Default)]
struct Group {
    targets: Vec<Target>,
    weights: Weights,
}

/// An endpoint as a view names it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) endpoint: Arc<Endpoint>,
    weight: u32,
    revision: Revision,
}

impl Target {
    /// Whether it is left alone for a while.
    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.endpoint.is_ejected(self.revision, now)
    }

    fn candidate(&self, now: Instant) -> Candidate {
        Candidate {
            weight: self.weight,
            outstanding: self.endpoint.outstanding(),
            latency: self.endpoint.estimate(now),
        }
    }
}

impl FromIterator<Target> for Group {
    fn from_iter<T: IntoIterator<Item = Target>>(targets: T) -> Self {
        let targets: Vec<_> = targets.into_iter().collect();
        let weights = targets.iter().map(|target| target.weight).collect();
        Self { targets, weights }
    }
}

impl Group {
    fn pick(&self, fit: impl Fn(&Target) -> bool, now: Instant, random: &mut fastrand::Rng) -> Option<&Target> {
        let (first, second) = self.weights.draw_two(random)?;
        let (first, second) = (&self.targets[first], &self.targets[second]);
        if fit(first) && fit(second) {
            return Some(better((first, first.candidate(now)), (second, second.candidate(now))));
        }
        // Few are unfit, and seldom.
        let fit: Vec<_> = self.targets.iter().filter(|target| fit(target)).collect();
        let weights: Weights = fit.iter().map(|target| target.weight).collect();
        let (first, second) = weights.draw_two(random)?;
        let (first, second) = (fit[first], fit[second]);
        Some(better((first, first.candidate(now)), (second, second.candidate(now))))
    }
}

impl Targets {
    /// The one address of a channel that is not discovered.
    pub(super) fn fixed(address: Address) -> Self {
        let target = Target {
            endpoint: Arc::new(Endpoint::new(address, Revision::default())),
            weight: Registration::WEIGHT_DEFAULT,
            revision: Revision::default(),
        };
        Self {
            near: [target].into_iter().collect(),
            ..Self::default()
        }
    }

    /// The serving instances of a view; those of `zone` are near, and all are when it is empty. Endpoints that were known
    /// keep their connections; the others go once their calls have ended.
    pub(super) fn of(view: Arc<View>, zone: &str, known: &Self) -> Self {
        let known = known.all().map(|target| target.endpoint.clone());
        let mut known: HashMap<_, _> = known.map(|endpoint| (endpoint.address.clone(), endpoint)).collect();
        let serving = view.instances().filter(|instance| instance.is_serving());
        let (near, far): (Vec<_>, Vec<_>) = serving
            .map(|instance| {
                let registration = &instance.registration;
                let address = &registration.address;
                // Two instances may share an address.
                let endpoint = known
                    .entry(address.clone())
                    .or_insert_with(|| Arc::new(Endpoint::new(address.clone(), instance.revision)));
                let target = Target {
                    endpoint: endpoint.clone(),
                    weight: registration.weight,
                    revision: instance.revision,
                };
                (zone.is_empty() || *registration.zone == *zone, target)
            })
            .partition(|(near, _)| *near);
        let group = |targets: Vec<(bool, Target)>| targets.into_iter().map(|(_, target)| target).collect();
        Self {
            near: group(near),
            far: group(far),
            view,
        }
    }

    /// Whether they were made of this view.
    pub(super) fn are_of(&self, view: &Arc<View>) -> bool {
        Arc::ptr_eq(&self.view, view)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Target> {
        self.near.targets.iter().chain(&self.far.targets)
    }

    /// Picks a near one that is fit; a far one where no near one is.
    pub(super) fn pick(
        &self,
        fit: impl Fn(&Target) -> bool,
        now: Instant,
        random: &mut fastrand::Rng,
    ) -> Option<&Target> {
        self.near
            .pick(&fit, now, random)
            .or_else(|| self.far.pick(&fit, now, random))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{instance, snapshot};

    fn address(n: u16) -> Address {
        std::net::SocketAddr::from(([127, 0, 0, 1], n)).into()
    }

    /// A view of instances in these zones.
    fn view(zones: &[u8]) -> Arc<View> {
        let instances = zones.iter().enumerate().map(|(n, zone)| {
            let mut instance = instance("s", &address(n as u16 + 1), n as u64 + 1);
            instance.zone = format!("z{zone}");
            instance
        });
        let mut view = View::default();
        let instances: Vec<_> = instances.collect();
        view.apply(snapshot(instances.len() as u64, &instances))
            .expect("a snapshot");
        Arc::new(view)
    }

    proptest! {
        #[test]
        fn a_pick_is_fit_and_of_the_own_zone_while_that_has_one(
            zones in prop::collection::vec(0_u8..3, 0..12),
            unfit in prop::collection::vec(any::<bool>(), 12),
            seed: u64,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let now = runtime.expect("a runtime").block_on(async { Instant::now() });
            let targets = Targets::of(view(&zones), "z1", &Targets::default());
            let zone_of: BTreeMap<_, _> = zones.iter().enumerate().map(|(n, zone)| (address(n as u16 + 1), *zone)).collect();
            let is_fit = |address: &Address| {
                let n = zone_of.keys().position(|key| key == address).expect("it is in the view");
                !unfit[n]
            };
            let mut random = fastrand::Rng::with_seed(seed);
            let picked = targets.pick(|target| is_fit(&target.endpoint.address), now, &mut random);
            let fit: Vec<_> = zone_of.iter().filter(|(address, _)| is_fit(address)).collect();
            let near = fit.iter().any(|(_, zone)| **zone == 1);
            match picked {
                None => prop_assert!(fit.is_empty()),
                Some(target) => {
                    let zone = zone_of[&target.endpoint.address];
                    prop_assert!(is_fit(&target.endpoint.address));
                    prop_assert_eq!(zone == 1, near);
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn endpoints_that_stay_are_kept_and_one_that_came_back_is_new() {
        let first = Targets::of(view(&[1, 1]), "", &Targets::default());
        let kept = first.all().next().expect("two").endpoint.clone();
        let second = Targets::of(view(&[1]), "", &first);
        assert!(Arc::ptr_eq(&second.all().next().expect("one").endpoint, &kept));
        let third = Targets::of(view(&[1, 1]), "", &second);
        let endpoints: Vec<_> = third.all().map(|target| &target.endpoint).collect();
        assert!(Arc::ptr_eq(endpoints[0], &kept));
        let gone = &first.all().last().expect("two").endpoint;
        assert!(!Arc::ptr_eq(endpoints[1], gone));
    }
}
