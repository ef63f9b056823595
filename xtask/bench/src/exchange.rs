//! The bytes of one call: what is sent, and what must come back.

use clap::ValueEnum;

/// The methods that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Called {
    /// A typed handler, String to String: the whole stack
    Echo,
    /// A handler that passes JSON through unparsed
    Ping,
}

impl Called {
    pub(crate) const fn method(self) -> &'static str {
        match self {
            Called::Echo => "echo",
            Called::Ping => "ping",
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Called::Echo => "echoed",
            Called::Ping => "pong",
        }
    }
}

/// One request and its reply, prefixes included.
///
/// Written out here and not by the crates that are measured, so that a server which spells its
/// replies wrongly is not measured at all.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    pub(crate) reply: Vec<u8>,
}

impl Exchange {
    pub(crate) fn new(called: Called, payload: usize) -> Exchange {
        let (method, kind, text) = (called.method(), called.kind(), text(payload));
        Exchange {
            request: frame(&format!(r#"{{"in":"{method}","params":"{text}"}}"#)),
            reply: frame(&format!(r#"{{"out":"{kind}","result":"{text}"}}"#)),
        }
    }

    /// As `rpc-client` spells it, which says how long it waits: 30 s by default.
    pub(crate) fn of_client(payload: usize) -> Exchange {
        let method = Called::Echo.method();
        let text = text(payload);
        Exchange {
            request: frame(&format!(r#"{{"in":"{method}","timeout_ms":30000,"params":"{text}"}}"#)),
            ..Exchange::new(Called::Echo, payload)
        }
    }

    /// As the seed's servers, which only know `ping`, spell it.
    pub(crate) fn with_seed(payload: usize) -> Exchange {
        let text = text(payload);
        Exchange {
            request: frame(&format!(r#"{{"in": "ping", "params": "{text}"}}"#)),
            reply: frame(&format!(r#"{{"out": "pong", "result": "{text}"}}"#)),
        }
    }

    /// The seed's client, which spells as Python does, and a server that spells as we do.
    pub(crate) fn from_seed(payload: usize) -> Exchange {
        Exchange {
            request: Exchange::with_seed(payload).request,
            reply: Exchange::new(Called::Ping, payload).reply,
        }
    }
}

/// `len` characters of what the seed's client sends.
pub(crate) fn text(len: usize) -> String {
    "ireader 0".chars().cycle().take(len).collect()
}

fn frame(body: &str) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("the payload option is far below 4 GiB");
    [&len.to_le_bytes(), body.as_bytes()].concat()
}
