//! One file of the journal: how it begins, and how it is read. Pure.
//!
//! It starts with all instances and goes on with one record a change. Its name is its last one only once all it started
//! with is synced, so that whatever is wrong there is damage. What is wrong after that may be the end that a crash has
//! torn, which nobody was answered for: whatever says that it was synced already says that it is damage.

use prost::Message;

use super::record::{self, Entry, Frame, Head, Kind, Salt};

/// What a segment begins with.
const MAGIC: &[u8; 8] = b"homeroom";
/// The version of the format.
const VERSION: u32 = 1;
/// The size of what comes before the first record.
pub(super) const PREFIX_BYTES: usize = 20;

/// What a segment begins with: what it is, its version, and its salt.
pub(super) fn prefix(salt: Salt) -> [u8; PREFIX_BYTES] {
    let mut bytes = [0; PREFIX_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..].copy_from_slice(&salt.0.to_le_bytes());
    bytes
}

/// What cannot be read though it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    /// Where in the segment.
    pub(super) offset: u64,
    /// What is wrong there, as a clause.
    pub(super) what: String,
}

/// How a segment ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) salt: Salt,
    /// How much of it is what it started with.
    pub(super) head_bytes: u64,
    /// Where the next record belongs.
    pub(super) offset: u64,
    /// How much is there after that, torn.
    pub(super) torn_bytes: u64,
    /// Whether whole records are among what is torn: what was written in order did not reach the disk so, as happens
    /// when the power is cut.
    pub(super) lost_records: bool,
}

/// Reads a segment of which the first `synced` bytes are known to have been synced. `see` is shown each record in order,
/// and may object to it.
pub(super) fn read(bytes: &[u8], synced: u64, see: &mut dyn FnMut(Kind) -> Result<(), String>) -> Result<End, Damage> {
    let salt = read_prefix(bytes)?;
    let mut offset = PREFIX_BYTES;
    let mut head_bytes = None;
    // The head comes first, and tells how many instances follow it.
    let mut expected: Option<u64> = None;
    while let Some(frame) = record::get(bytes, salt, offset) {
        let objection = |what: String| damaged(offset, what);
        let kind = decode(&frame).map_err(objection)?;
        expected = Some(expect(expected, &kind).map_err(objection)?);
        see(kind).map_err(objection)?;
        offset = frame.end;
        if expected == Some(0) {
            head_bytes.get_or_insert(offset as u64);
        }
    }
    let Some(head_bytes) = head_bytes else {
        return Err(damaged(offset, "what it starts with is not whole"));
    };
    let later: Vec<_> = record::scan(bytes, salt, offset).map(|frame| frame.synced).collect();
    let synced = later.iter().copied().fold(synced, u64::max);
    if synced > offset as u64 {
        return Err(damaged(offset, "a record that was synced is not whole"));
    }
    Ok(End {
        salt,
        head_bytes,
        offset: offset as u64,
        torn_bytes: (bytes.len() - offset) as u64,
        lost_records: !later.is_empty(),
    })
}

fn damaged(offset: usize, what: impl Into<String>) -> Damage {
    Damage {
        offset: offset as u64,
        what: what.into(),
    }
}

fn read_prefix(bytes: &[u8]) -> Result<Salt, Damage> {
    let whole = bytes.get(..PREFIX_BYTES).filter(|prefix| prefix.starts_with(MAGIC));
    let prefix = whole.ok_or_else(|| damaged(0, "it does not begin as a segment does"))?;
    let (version, salt) = prefix[8..].split_at(4);
    let version = u32::from_le_bytes(version.try_into().expect("it has four bytes"));
    if version != VERSION {
        return Err(damaged(
            8,
            format!("it is of version {version} of the format, and this registry reads {VERSION}"),
        ));
    }
    Ok(Salt(u64::from_le_bytes(salt.try_into().expect("it has eight bytes"))))
}

fn decode(frame: &Frame<'_>) -> Result<Kind, String> {
    let entry = Entry::decode(frame.payload).map_err(|error| format!("a record cannot be read: {error}"))?;
    entry
        .kind
        .ok_or_else(|| "a record is of a kind that this version does not know".to_owned())
}

/// How many instances the head still promises, with this record.
fn expect(expected: Option<u64>, kind: &Kind) -> Result<u64, String> {
    match (expected, kind) {
        (None, Kind::Head(Head { instances, .. })) => Ok(*instances),
        (Some(missing @ 1..), Kind::Instance(_)) => Ok(missing - 1),
        (Some(0), Kind::Change(_) | Kind::Reaffirmed(_) | Kind::Opened(_) | Kind::Closed(_)) => Ok(0),
        _ => Err("a record is not where it belongs".to_owned()),
    }
}
