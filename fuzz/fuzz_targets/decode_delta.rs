//! Any bytes are refused, or are the one form of the delta that they say.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::Delta;

fuzz_target!(|data: &[u8]| {
    if let Ok(delta) = Delta::decode(data) {
        assert_eq!(delta.encode(), data);
    }
});
