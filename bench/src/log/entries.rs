//! What the load writes: entries as services of a small system write them, other ones each time. Pure.
//!
//! Nothing here flatters compression: a message has words, numbers and addresses of its own in the text of its template,
//! span ids are random, and so are trace ids, of which eight entries share one.

use fastrand::Rng;
use homeroom::proto::log::v1::{Entry, Severity};

/// The services, which write equally much.
pub(crate) const SERVICES: [&str; 20] = [
    "accounts",
    "audit",
    "billing",
    "carts",
    "catalog",
    "checkout",
    "delivery",
    "fraud",
    "gateway",
    "identity",
    "inventory",
    "invoices",
    "mail",
    "orders",
    "payments",
    "pricing",
    "ratings",
    "search",
    "sessions",
    "stock",
];
/// One more service, which writes one entry in [`RARELY`].
pub(crate) const RARE_SERVICE: &str = "janitor";
/// How many entries the others write for each one of the rare service.
pub(crate) const RARELY: u32 = 10_000;
/// How many entries a trace has.
pub(crate) const TRACE_ENTRIES: usize = 8;
/// How many traces are written at the same time, their entries mixed.
const TRACES_OPEN: usize = 64;
/// How many instances a service has.
const INSTANCES: u32 = 3;
/// 2026-01-01, in nanoseconds since 1970.
const START_NANOS: i64 = 1_767_225_600_000_000_000;
/// The time between two entries, at most.
const STEP_NANOS_MAX: i64 = 100_000;

/// Texts with places for what varies: `#` a number, `@` a word, `%` an address, `&` a hexadecimal number. Of those that
/// are not long, only what is before the bar is written.
const TEMPLATES: [&str; 16] = [
    "request GET /v1/@/# from % answered with status 200 in # us|, # bytes sent, chosen by the rule for @, and the connection is kept open for the next request of",
    "order # of customer # moved from @ to @, total # cents|, reserved at the depot, confirmed by the worker after # attempts, the next step is due within one",
    "cache miss for key @:#, loaded # rows from the replica at % in # us|, the entry was stored under generation &, older entries of the same segment were evicted to",
    "payment # authorised by provider @ with reference &, # cents|, risk score # is below the limit of this country, the answer came in time and the basket of the",
    "connection to % lost after # requests: @ while reading # bytes|, the stream was reset, # calls are tried again elsewhere within the budget that the",
    "job @ number # finished: # items read, # written, none skipped|, the checkpoint was stored at partition @ of its queue, and the next run of this job starts when the",
    "user # signed in from % with method @, the session lasts # s|, the device was seen before, the password is not too old, and # other sessions of the same user",
    "message # to recipient # queued with template @, size # bytes|, the first attempt is planned at once, the spool has # messages waiting in front of it",
    "query on table @ took # us and returned # of # rows, by the index on @|, all pages came from the buffer and none from disk, no lock had to be waited for and no row was",
    "price of article # in catalogue @ changed from # to # cents, valid from revision &| on, all baskets that contain the article were recalculated and their owners are told of",
    "health of the backend at % turned to @ after # probes: the last took # ms|, which is over its limit, so its weight was lowered, the others of the zone take over what",
    "retry of call @/@ to % after status UNAVAILABLE, # ms are left|, the budget has # tokens, the backoff was # ms, and the answer of the first one will be taken when it comes in",
    "stock of article # at depot @ is # pieces, # of them reserved by &|, a shipment is on its way, the level for ordering again was not reached, and the last",
    "file @-#.parquet uploaded to bucket @ in # parts, checksum &|, confirmed by the other side, the older versions are kept until the rule for this bucket",
    "rate limit hit by the client at % with key &: # requests in a minute|, where fewer are allowed, # of them were delayed and none refused, the plan of this",
    "configuration @ reloaded at revision & with # keys, # of them changed|, none removed, the feature @ went to more users than before, and all watchers were",
];

const WORDS: [&str; 96] = [
    "alpha", "amber", "anchor", "apple", "arrow", "autumn", "badge", "basalt", "beacon", "birch", "blossom", "bridge",
    "bronze", "canyon", "cargo", "cedar", "chalk", "cinder", "cobalt", "copper", "coral", "crater", "cypress", "delta",
    "denied", "drift", "eagle", "ember", "expired", "falcon", "fern", "fjord", "flint", "forest", "garnet", "glacier",
    "granite", "harbor", "hazel", "heron", "hollow", "indigo", "island", "ivory", "jasper", "juniper", "kestrel",
    "lagoon", "lantern", "larch", "lilac", "lunar", "maple", "marble", "meadow", "mirror", "monsoon", "moss", "nectar",
    "nickel", "north", "oasis", "ocean", "olive", "onyx", "orchid", "osprey", "partial", "pebble", "pending", "pine",
    "plateau", "prairie", "quartz", "queued", "raven", "reef", "refused", "ridge", "river", "saffron", "sequoia",
    "shipped", "sierra", "silver", "slate", "sparrow", "spruce", "summit", "thistle", "timeout", "tundra", "valley",
    "velvet", "willow", "winter",
];

const ROUTES: [&str; 12] = [
    "/v1/orders/{id}",
    "/v1/orders",
    "/v1/carts/{id}/items",
    "/v1/users/{id}",
    "/v1/login",
    "/v1/search",
    "/v1/articles/{id}",
    "/v1/articles/{id}/price",
    "/v1/payments",
    "/v1/refunds/{id}",
    "/v2/batch",
    "/healthz",
];

/// How much an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Message, attributes and ids have some 180 bytes together, its line on disk some 380.
    Usual,
    /// The message alone has some 180 bytes, the line some 480.
    Long,
}

/// Entries without an end; the same ones for the same seed.
#[derive(Debug)]
pub(crate) struct Entries {
    random: Rng,
    length: Length,
    time_nanos: i64,
    /// Traces that go on, and how many entries they still get.
    open: Vec<([u8; 16], usize)>,
}

impl Entries {
    pub(crate) fn new(seed: u64, length: Length) -> Self {
        let mut random = Rng::with_seed(seed);
        // They do not all end at once.
        let trace = |n| (random.u128(1..).to_be_bytes(), 1 + n % TRACE_ENTRIES);
        Self {
            open: (0..TRACES_OPEN).map(trace).collect(),
            random,
            length,
            time_nanos: START_NANOS,
        }
    }

    /// The next entry.
    pub(crate) fn next(&mut self) -> Entry {
        let random = &mut self.random;
        self.time_nanos += random.i64(1..STEP_NANOS_MAX);
        let service = if random.u32(0..RARELY) == 0 {
            RARE_SERVICE
        } else {
            SERVICES[random.usize(0..SERVICES.len())]
        };
        let trace = &mut self.open[random.usize(0..TRACES_OPEN)];
        let trace_id = hex(&trace.0);
        trace.1 -= 1;
        if trace.1 == 0 {
            *trace = (random.u128(1..).to_be_bytes(), TRACE_ENTRIES);
        }
        let attributes = [
            ("http.route", ROUTES[random.usize(0..ROUTES.len())].to_owned()),
            ("user.id", random.u32(10_000..100_000).to_string()),
            ("queue.depth", random.u32(0..500).to_string()),
        ];
        Entry {
            time: Some(prost_types::Timestamp {
                seconds: self.time_nanos.div_euclid(1_000_000_000),
                nanos: i32::try_from(self.time_nanos.rem_euclid(1_000_000_000)).expect("less than a second"),
            }),
            severity: severity(random).into(),
            service: service.to_owned(),
            instance: format!("10.0.7.{}:3002", random.u32(1..=INSTANCES)),
            message: message(random, self.length),
            attributes: attributes.map(|(key, value)| (key.to_owned(), value)).into(),
            trace_id,
            span_id: hex(&random.u64(1..).to_be_bytes()),
            ..Default::default()
        }
    }
}

fn severity(random: &mut Rng) -> Severity {
    match random.u32(0..100) {
        0..2 => Severity::Error,
        2..8 => Severity::Warn,
        8..20 => Severity::Debug,
        _ => Severity::Info,
    }
}

fn message(random: &mut Rng, length: Length) -> String {
    let template = TEMPLATES[random.usize(0..TEMPLATES.len())];
    let (usual, more) = template.split_once('|').expect("each text has a bar");
    let more = if length == Length::Long { more } else { "" };
    let mut text = String::with_capacity(256);
    for letter in usual.chars().chain(more.chars()) {
        match letter {
            '#' => {
                // As many short numbers as long ones.
                let digits = random.u32(1..=5);
                text.push_str(&random.u32(0..10_u32.pow(digits)).to_string());
            }
            '@' => text.push_str(WORDS[random.usize(0..WORDS.len())]),
            '%' => text.push_str(&format!(
                "10.{}.{}.{}:3002",
                random.u8(0..4),
                random.u8(..),
                random.u8(1..)
            )),
            '&' => text.push_str(&format!("{:08x}", random.u32(..))),
            letter => text.push(letter),
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn ten_thousand(length: Length) -> Vec<Entry> {
        let mut entries = Entries::new(1, length);
        (0..10_000).map(|_| entries.next()).collect()
    }

    /// How many bytes they have on average.
    fn size(entries: &[Entry], of: fn(&Entry) -> usize) -> usize {
        entries.iter().map(of).sum::<usize>() / entries.len()
    }

    #[test]
    fn message_attributes_and_ids_have_some_180_bytes() {
        let size = size(&ten_thousand(Length::Usual), |entry| {
            let attributes = entry.attributes.iter();
            let attributes: usize = attributes.map(|(key, value)| key.len() + value.len()).sum();
            entry.message.len() + attributes + entry.trace_id.len() + entry.span_id.len()
        });
        assert!((178..=182).contains(&size), "{size} bytes");
    }

    #[test]
    fn long_messages_have_some_180_bytes() {
        let size = size(&ten_thousand(Length::Long), |entry| entry.message.len());
        assert!((175..=185).contains(&size), "{size} bytes");
    }

    #[test]
    fn hardly_one_message_is_like_another() {
        let entries = ten_thousand(Length::Usual).into_iter();
        let mut messages: Vec<_> = entries.map(|entry| entry.message).collect();
        messages.sort_unstable();
        messages.dedup();
        assert!(messages.len() > 9_800, "{} different ones", messages.len());
    }

    #[test]
    fn a_trace_has_eight_entries_of_several_services() {
        let mut entries = Entries::new(2, Length::Usual);
        let mut traces = BTreeMap::<_, Vec<_>>::new();
        for entry in (0..10_000).map(|_| entries.next()) {
            traces.entry(entry.trace_id).or_default().push(entry.service);
        }
        let whole: Vec<_> = traces
            .values()
            .filter(|services| services.len() == TRACE_ENTRIES)
            .collect();
        assert!(whole.len() > traces.len() * 9 / 10);
        let all_the_same = |services: &&&Vec<String>| services.iter().all(|service| *service == services[0]);
        assert_eq!(whole.iter().filter(all_the_same).count(), 0);
    }
}
