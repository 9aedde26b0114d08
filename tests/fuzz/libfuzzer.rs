//! libFuzzer's side: `BOARDPROOF_FUZZ_TARGET` names the target that this process feeds.
#![no_main]

use boardproof_fuzz::Target;
use libfuzzer_sys::{Corpus, fuzz_target};
use std::sync::OnceLock;

static TARGET: OnceLock<&Target> = OnceLock::new();

/// Finds the target, and lets the decoder thread of an upload panic: the agent takes that for content that is no frame.
fn start() {
    let name = std::env::var("BOARDPROOF_FUZZ_TARGET").expect("BOARDPROOF_FUZZ_TARGET names the target");
    TARGET.get_or_init(|| Target::named(&name).unwrap_or_else(|| panic!("no fuzz target is called '{name}'")));
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some("decode") {
            abort(panic);
        }
    }));
}

fuzz_target!(
    init: start(),
    |input: &[u8]| -> Corpus {
        TARGET.get().expect("set at the start").feed(input);
        Corpus::Keep
    }
);
