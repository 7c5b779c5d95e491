//! Whatever a sender sends as a request: it is refused, or becomes lines that are those of entries.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logsvc::{
    entry::{Time, encode, number, parse},
    otlp::{data_points, logs, spans},
};

fuzz_target!(|request: &[u8]| {
    data_points(request);
    for converted in [logs(request, Time::MIN), spans(request, Time::MIN)].into_iter().flatten() {
        assert_eq!(converted.rejected > 0, converted.first_error.is_some());
        for batch in &converted.batches {
            let lines = batch.text().split_inclusive(|byte| *byte == b'\n');
            assert_eq!(lines.clone().count(), batch.len());
            for line in lines {
                let (mut numbered, mut again) = (Vec::new(), Vec::new());
                number(1, None, line, &mut numbered);
                let entry = parse(&numbered).expect("it is the line of an entry");
                encode(&entry, &mut again);
                assert_eq!(again, line, "it is what its entry is encoded as");
            }
        }
    }
});
