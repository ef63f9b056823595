use rpc_proto::{Address, Method};

const PING: Method<String, String> = Method::new("ping", "pong");

#[test]
fn a_method_is_a_constant_that_can_be_copied_for_any_types() {
    struct NeitherCloneNorDebug;
    const ODD: Method<NeitherCloneNorDebug, NeitherCloneNorDebug> = Method::new("odd", "even");
    let copy = ODD;
    assert_eq!((copy.name(), copy.kind()), (ODD.name(), ODD.kind()));
    let debug = format!("{PING:?}");
    assert!(debug.contains("ping") && debug.contains("pong"), "{debug}");
}

#[test]
fn a_method_is_idempotent_only_if_declared_so() {
    const READ: Method<(), ()> = Method::new("read", "content").idempotent();
    assert!(READ.is_idempotent() && !PING.is_idempotent());
    assert_eq!((READ.name(), READ.kind()), ("read", "content"));
}

#[test]
fn an_address_is_written_as_it_was_read() {
    for text in
        ["127.0.0.1:8080", "localhost:0", "[::1]:65535", "unix:/run/ping.sock", "unix:relative"]
    {
        let address: Address = text.parse().unwrap();
        assert_eq!(address.to_string(), text);
    }
    assert_eq!("unix:/a:b".parse(), Ok(Address::unix("/a:b")));
    assert_eq!("host:80".parse(), Ok(Address::Tcp("host:80".into())));
}

#[test]
fn what_is_not_an_address_is_refused_with_the_text() {
    for text in [
        "",
        "8080",
        "localhost",
        ":8080",
        "localhost:",
        "localhost:http",
        "localhost:65536",
        "localhost:-1",
        "::1:8080",
        "unix:",
    ] {
        let error = text.parse::<Address>().unwrap_err().to_string();
        assert!(error.contains(&format!("`{text}`")), "{error}");
    }
}
