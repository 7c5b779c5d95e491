use proptest::prelude::*;

use super::*;

fn entry(size_bytes: usize) -> Entry {
    Entry {
        message: "m".repeat(size_bytes),
        ..Entry::default()
    }
}

#[test]
fn a_batch_is_cut_before_it_grows_too_large_and_one_large_entry_is_one() {
    let mut backlog = Backlog::new();
    backlog.push([600, 600, 100, 2000, 1].map(|kib| entry(kib * 1024)).into());
    let sizes = std::iter::from_fn(|| backlog.send(usize::MAX)).map(|request| (request.batch, request.entries.len()));
    assert_eq!(sizes.collect::<Vec<_>>(), [(1, 1), (2, 2), (3, 1), (4, 1)]);
}

#[test]
fn no_more_is_under_way_than_log_lets_be_but_always_one() {
    let mut backlog = Backlog::new();
    (0..4).for_each(|_| backlog.push(vec![entry(1000)]));
    let sent = |backlog: &mut Backlog, credit_bytes| {
        let requests = std::iter::from_fn(|| backlog.send(credit_bytes));
        requests.map(|request| request.batch).collect::<Vec<_>>()
    };
    assert_eq!(sent(&mut backlog, 0), [1]);
    assert_eq!(sent(&mut backlog, 0), []);
    assert_eq!(sent(&mut backlog, 2500), [2]);
    assert_eq!(backlog.acknowledge(1), 1);
    assert_eq!(sent(&mut backlog, 2500), [3]);
    backlog.send_again();
    assert_eq!(sent(&mut backlog, usize::MAX), [2, 3, 4]);
}

#[test]
fn a_batch_is_printed_once() {
    let mut backlog = Backlog::new();
    backlog.push(vec![entry(1)]);
    assert_eq!(backlog.print().collect::<Vec<_>>().concat(), [entry(1)]);
    backlog.push(vec![entry(2)]);
    assert_eq!(backlog.print().collect::<Vec<_>>().concat(), [entry(2)]);
    assert!(backlog.print().next().is_none());
}

/// What happens to a backlog.
#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    Send(usize),
    Acknowledge(usize),
    Break,
    Pop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_usize..2000).prop_map(Step::Push),
        (0_usize..6000).prop_map(Step::Send),
        (0_usize..4).prop_map(Step::Acknowledge),
        Just(Step::Break),
        Just(Step::Pop),
    ]
}

proptest! {
    /// Log as the contract has it: it takes batches in order, and none twice.
    #[test]
    fn log_gets_each_entry_once_and_in_order_but_for_those_given_up(steps in prop::collection::vec(step(), 1..100)) {
        let (mut backlog, mut waiting) = (Backlog::new(), VecDeque::new());
        let (mut under_way, mut pushed) = (VecDeque::<IngestRequest>::new(), 0_u64);
        for step in steps {
            match step {
                Step::Push(size_bytes) => {
                    pushed += 1;
                    backlog.push(vec![entry(size_bytes)]);
                    waiting.push_back(pushed);
                }
                Step::Send(credit_bytes) => {
                    let before = under_way.len();
                    under_way.extend(std::iter::from_fn(|| backlog.send(credit_bytes)));
                    let bytes: usize = under_way.iter().map(|request| request.entries[0].encoded_len()).sum();
                    prop_assert!(under_way.len() == before || under_way.len() == 1 || bytes <= credit_bytes);
                }
                Step::Acknowledge(count) => {
                    let taken: Vec<_> = under_way.drain(..count.min(under_way.len())).collect();
                    if let Some(last) = taken.last() {
                        prop_assert_eq!(backlog.acknowledge(last.batch), taken.len());
                    }
                    for request in taken {
                        prop_assert_eq!(Some(request.batch), waiting.pop_front());
                    }
                }
                Step::Break => {
                    under_way.clear();
                    backlog.send_again();
                }
                Step::Pop => {
                    prop_assert_eq!(backlog.pop().is_some(), waiting.pop_front().is_some());
                    under_way.pop_front();
                }
            }
            prop_assert_eq!(backlog.is_empty(), waiting.is_empty());
            prop_assert_eq!(backlog.is_under_way(), !under_way.is_empty());
        }
        backlog.send_again();
        let rest: Vec<_> = std::iter::from_fn(|| backlog.send(usize::MAX)).map(|request| request.batch).collect();
        prop_assert_eq!(rest, Vec::from(waiting));
    }
}
