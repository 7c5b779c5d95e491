use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn key(service: &str, id: usize) -> InstanceKey {
    InstanceKey::parse(service, &id.to_string()).expect("a key")
}

fn keys(service: &str, count: usize) -> Vec<InstanceKey> {
    (0..count).map(|id| key(service, id)).collect()
}

/// What is known of each instance.
fn members(brake: &Brake) -> impl Iterator<Item = Option<&Silence>> {
    let members = brake.services.values().flat_map(|service| service.members.values());
    members.map(Option::as_deref)
}

/// A brake with the settings of the contract, over services of so many instances, all alive.
fn brake(services: &[(&str, usize)], now: Instant) -> Brake {
    let mut brake = Brake::new(BrakeSettings::default(), now);
    for (service, count) in services {
        keys(service, *count).iter().for_each(|key| brake.alive(key, now));
    }
    brake
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The last attempt of a listed instance.
fn used_up(brake: &mut Brake, key: &InstanceKey, now: Instant) -> Verdict {
    brake.silent(key, true, true, now)
}

#[test]
fn a_few_silences_hide_as_ever() {
    let now = Instant::now();
    let mut brake = brake(&[("s", 100)], now);
    for key in &keys("s", 9) {
        assert_eq!(used_up(&mut brake, key, now), Verdict::Hide);
    }
    assert_eq!(brake.status(now), BrakeStatus::default());
    assert!(brake.take_news().is_empty());
}

#[test]
fn many_at_once_are_kept_before_the_first_would_be_hidden() {
    let now = Instant::now();
    let mut brake = brake(&[("s", 100)], now);
    let all = keys("s", 100);
    for key in &all[..16] {
        brake.silent(key, false, true, now);
    }
    let news = brake.take_news();
    assert_eq!(news.len(), 1);
    assert!(news[0].engaged && news[0].service.is_none() && news[0].restore.is_empty());
    for key in &all[..16] {
        assert_eq!(used_up(&mut brake, key, now + seconds(6)), Verdict::Keep);
    }
    let status = brake.status(now + seconds(6));
    assert_eq!((status.engaged, status.kept), (true, 16));
    assert_eq!(status.engaged_for, Some(seconds(6)));
    assert_eq!(status.detail, "16 of all 100 instances are silent");
    assert_eq!(brake.why(&all[0]), "kept, because 16 of all 100 instances are silent");
}

#[test]
fn those_that_were_hidden_before_the_brake_was_engaged_are_shown_again() {
    let now = Instant::now();
    let mut brake = brake(&[("s", 40)], now);
    let all = keys("s", 40);
    for key in &all[..9] {
        assert_eq!(used_up(&mut brake, key, now), Verdict::Hide);
    }
    assert_eq!(used_up(&mut brake, &all[9], now + seconds(29)), Verdict::Keep);
    let news = brake.take_news();
    assert_eq!(news[0].restore, all[..9]);
    assert_eq!(brake.status(now).kept, 10);
}

#[test]
fn silences_that_do_not_fall_into_one_window_do_not_add_up() {
    let mut now = Instant::now();
    let mut brake = brake(&[("s", 100)], now);
    for key in &keys("s", 60) {
        assert_eq!(used_up(&mut brake, key, now), Verdict::Hide);
        now += seconds(4);
    }
    assert!(brake.take_news().is_empty());
    assert!(
        brake.begun.len() < 10 && members(&brake).count() < 50,
        "what is old is forgotten"
    );
}

#[test]
fn a_service_is_kept_when_more_than_half_of_it_is_silent() {
    let now = Instant::now();
    let mut brake = brake(&[("big", 96), ("s", 4), ("small", 3)], now);
    for key in &keys("s", 3) {
        brake.silent(key, false, true, now);
    }
    assert_eq!(used_up(&mut brake, &key("s", 0), now), Verdict::Keep);
    assert_eq!(
        used_up(&mut brake, &key("big", 0), now),
        Verdict::Hide,
        "another service"
    );
    for key in &keys("small", 3) {
        assert_eq!(used_up(&mut brake, key, now), Verdict::Hide, "fewer than four");
    }
    let status = brake.status(now);
    assert_eq!(
        (status.engaged, status.services),
        (false, vec!["s".parse().expect("a name")])
    );
    assert_eq!(status.detail, "3 of the 4 instances of `s` are silent");
    assert!(!brake.may_evict(&key("s", 3), now));
    assert!(brake.may_evict(&key("big", 1), now));
}

#[test]
fn it_holds_for_as_long_as_they_are_silent() {
    let now = Instant::now();
    let mut brake = brake(&[("s", 20)], now);
    for key in &keys("s", 20) {
        brake.silent(key, false, true, now);
    }
    for hour in 0..24 {
        for key in &keys("s", 20) {
            assert_eq!(used_up(&mut brake, key, now + seconds(hour * 3_600)), Verdict::Keep);
        }
    }
}

#[test]
fn it_is_released_at_half_of_what_engages_it_and_then_hides_one_by_one() {
    let now = Instant::now();
    let mut brake = brake(&[("s", 100)], now);
    let all = keys("s", 100);
    for key in &all[..16] {
        used_up(&mut brake, key, now);
    }
    for key in &all[7..15] {
        brake.alive(key, now);
    }
    assert!(brake.status(now).engaged, "8 are silent");
    brake.alive(&all[15], now);
    assert!(!brake.status(now).engaged, "7 are silent");
    let news = brake.take_news();
    assert_eq!(news.iter().map(|news| news.engaged).collect::<Vec<_>>(), [true, false]);
    let hidden = |brake: &mut Brake, now| {
        let asked = all[..7].iter().filter(|key| used_up(brake, key, now) == Verdict::Hide);
        asked.count()
    };
    for (tenths, expected) in [(0, 1), (0, 1), (1, 2), (2, 3), (6, 4), (7, 5), (8, 6), (9, 7)] {
        let now = now + Duration::from_millis(tenths * 100);
        assert_eq!(hidden(&mut brake, now), expected, "after {tenths} tenths");
    }
}

#[test]
fn evictions_are_paced_always() {
    let now = Instant::now();
    let mut brake = brake(&[], now);
    let all = keys("s", 1_000);
    let mut evict = |now| all.iter().filter(|key| brake.may_evict(key, now)).count();
    assert_eq!((evict(now), evict(now)), (1, 0));
    assert_eq!(evict(now + seconds(60)), 1, "a pause saves nothing up");
}

#[test]
fn whoever_was_never_seen_alive_does_not_count() {
    let now = Instant::now();
    let mut brake = brake(&[("s", 4)], now);
    for key in &keys("dead", 600) {
        assert_eq!(used_up(&mut brake, key, now), Verdict::Hide);
    }
    assert!(brake.take_news().is_empty());
    brake.meet(&key("s", 0), now);
    assert_eq!(brake.all.counts.instances, 4);
}

#[derive(Debug, Clone)]
enum Step {
    Alive(usize),
    Silent(usize, bool),
    Refuse(usize),
    Evict(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..40_usize).prop_map(Step::Alive),
        8 => (0..40_usize, any::<bool>()).prop_map(|(n, used_up)| Step::Silent(n, used_up)),
        1 => (0..40_usize).prop_map(Step::Refuse),
        1 => (0..40_usize).prop_map(Step::Evict),
        2 => (0..9_000_u64).prop_map(Step::Pass),
    ]
}

/// What a watcher would know: who is hidden by silence, and since when that lasts.
#[derive(Default)]
struct Naive {
    alive: BTreeSet<InstanceKey>,
    silent: HashMap<InstanceKey, Instant>,
    hidden: BTreeSet<InstanceKey>,
    was_kept: BTreeSet<InstanceKey>,
    paced: Vec<Instant>,
}

impl Naive {
    fn over(&mut self, key: &InstanceKey) {
        self.silent.remove(key);
        self.hidden.remove(key);
        self.was_kept.remove(key);
    }

    fn hidden_since(&self, since: Option<Instant>) -> usize {
        let recent = |key: &&InstanceKey| since.is_none_or(|since| self.silent[*key] > since);
        self.hidden.iter().filter(recent).count()
    }

    /// Those seen alive, but for those hidden by a silence from before the window.
    fn population(&self, since: Option<Instant>) -> usize {
        self.alive.len() - (self.hidden.len() - self.hidden_since(since))
    }
}

proptest! {
    #[test]
    fn silence_never_hides_more_than_is_allowed_and_all_is_released_when_all_recover(
        steps in proptest::collection::vec(step(), 0..400),
    ) {
        let settings = BrakeSettings::default();
        let start = Instant::now() + settings.window;
        let mut now = start;
        let all: Vec<_> = (0..40).map(|n| key(["a", "b", "c"][n % 3], n)).collect();
        let mut brake = Brake::new(settings.clone(), now);
        let mut naive = Naive::default();
        for key in &all {
            brake.alive(key, now);
            naive.alive.insert(key.clone());
        }
        for step in steps {
            match step {
                Step::Alive(n) => {
                    brake.alive(&all[n], now);
                    naive.alive.insert(all[n].clone());
                    naive.over(&all[n]);
                }
                Step::Silent(n, used_up) => {
                    let key = &all[n];
                    let known = brake.member(key).is_some();
                    let was_hidden = naive.hidden.contains(key);
                    let verdict = brake.silent(key, used_up, true, now);
                    if known {
                        naive.silent.entry(key.clone()).or_insert(now);
                        match verdict {
                            Verdict::Keep => {
                                prop_assert!(brake.is_engaged(&key.service) || naive.was_kept.contains(key));
                                naive.was_kept.insert(key.clone());
                            }
                            Verdict::Hide if used_up && !was_hidden => {
                                naive.hidden.insert(key.clone());
                                if naive.was_kept.contains(key) {
                                    naive.paced.push(now);
                                }
                            }
                            Verdict::Hide => {}
                        }
                    }
                }
                Step::Refuse(n) => {
                    brake.forget(&all[n], now);
                    naive.alive.remove(&all[n]);
                    naive.over(&all[n]);
                    prop_assert!(brake.member(&all[n]).is_none());
                }
                Step::Evict(n) => {
                    if brake.may_evict(&all[n], now) {
                        prop_assert!(!brake.is_engaged(&all[n].service));
                        naive.paced.push(now);
                    }
                }
                Step::Pass(millis) => {
                    now += Duration::from_millis(millis);
                    brake.advance(now);
                }
            }
            for news in brake.take_news() {
                for key in &news.restore {
                    prop_assert!(naive.hidden.remove(key), "only what was hidden is shown again");
                    naive.was_kept.insert(key.clone());
                }
            }
            let since = now.checked_sub(settings.window);
            let (hidden, population) = (naive.hidden_since(since), naive.population(since));
            prop_assert!(hidden < 10 || hidden * 100 <= 15 * population, "{hidden} of {population} are hidden");
            let mut counts = Counts::default();
            members(&brake).for_each(|silence| counts.add(silence));
            prop_assert_eq!(brake.all.counts, counts);
            prop_assert_eq!(counts.instances, population);
        }
        let every = Duration::from_millis(100);
        prop_assert!(naive.paced.windows(2).all(|pair| pair[1] - pair[0] >= every));
        all.iter().for_each(|key| brake.alive(key, now));
        prop_assert_eq!(brake.status(now), BrakeStatus::default());
    }
}
