//! What tonic answers by itself, said as every other error is: with a code chosen by the caller's next step, and details.

use http::HeaderMap;
use tonic::{Code, Status};

use crate::status::Refusal;

/// How much of an unknown path is repeated. No method's path is as long, and the answer must fit into what clients
/// accept as metadata.
const PATH_CHARS_MAX: usize = 256;
/// How prost's decoding errors begin. What follows names types and fields of the program.
const DECODE_ERROR: &str = "failed to decode Protobuf message";
/// How tonic's errors begin where a message is larger than the limit once decompressed.
const SIZE_ERROR: &str = "Error decompressing: size limit";
/// How its errors begin where a message cannot be decompressed.
const DECOMPRESS_ERROR: &str = "Error decompressing: ";

/// A better status for an answer that tonic has made: for a method that there is not, for a request that is no protobuf
/// or not compressed as it says, and for one that is too large once decompressed. `None` for every other answer.
///
/// A response's head tells: an answer that is only an error has its status in the headers, and one of ours has details.
/// An error that a handler makes in exactly tonic's words cannot be told from tonic's.
pub(super) fn explained(headers: &HeaderMap, path: &str) -> Option<Status> {
    if !headers.contains_key(Status::GRPC_STATUS) || headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    match status.code() {
        Code::Unimplemented if status.message().is_empty() => Some(unknown_method(path)),
        Code::Internal if status.message().starts_with(DECODE_ERROR) => Some(malformed_message()),
        Code::Internal if status.message().starts_with(DECOMPRESS_ERROR) => Some(malformed_message()),
        Code::ResourceExhausted if status.message().starts_with(SIZE_ERROR) => Some(message_too_large()),
        _ => None,
    }
}

fn unknown_method(path: &str) -> Status {
    let path: String = path.chars().take(PATH_CHARS_MAX).collect();
    Refusal::new(
        Code::Unimplemented,
        "UNKNOWN_METHOD",
        format!("there is no method `{path}`"),
    )
    .with("path", path)
    .into()
}

fn message_too_large() -> Status {
    let message = "the message is larger than the limit once it is decompressed";
    Refusal::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message).into()
}

fn malformed_message() -> Status {
    Refusal::new(
        Code::InvalidArgument,
        "MALFORMED_MESSAGE",
        "the request is not the message that the method takes",
    )
    .into()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use tonic::{Code, Status};

    use super::{PATH_CHARS_MAX, explained};
    use crate::status::Refusal;

    fn head(status: Status) -> HeaderMap {
        status.into_http::<()>().into_parts().0.headers
    }

    #[test]
    fn an_answer_that_is_not_tonics_own_is_left_alone() {
        assert!(explained(&HeaderMap::new(), "/a/B").is_none(), "not an error");
        for status in [
            Status::ok(""),
            Status::unimplemented("not by this version"),
            Status::internal("Missing request message."),
            Status::internal(""),
            Status::unknown("failed to decode Protobuf message: invalid varint"),
            Refusal::new(Code::Unimplemented, "OURS", "").into(),
            Refusal::new(Code::Internal, "OURS", "failed to decode Protobuf message").into(),
        ] {
            assert!(explained(&head(status.clone()), "/a/B").is_none(), "{status}");
        }
    }

    #[test]
    fn a_message_that_cannot_be_decompressed_is_told_from_one_that_is_too_large_then() {
        let reason = |status| crate::status::reason(&explained(&head(status), "/a/B").expect("it is tonic's"));
        let broken = Status::internal("Error decompressing: invalid gzip header, while sending request");
        assert_eq!(reason(broken).as_deref(), Some("MALFORMED_MESSAGE"));
        let large = "Error decompressing: size limit, of 4194304 bytes, exceeded while decompressing message";
        assert_eq!(
            reason(Status::resource_exhausted(large)).as_deref(),
            Some("MESSAGE_TOO_LARGE")
        );
    }

    #[test]
    fn a_long_path_is_not_repeated_in_full() {
        let status = explained(&head(Status::unimplemented("")), &"ü".repeat(10_000)).expect("it is tonic's");
        assert_eq!(status.message().matches('ü').count(), PATH_CHARS_MAX);
    }
}
