//! Generates what protoc would, without protoc: the service is described here.

fn main() {
    let echo = tonic_build::manual::Method::builder()
        .name("echo")
        .route_name("Echo")
        .input_type("crate::Text")
        .output_type("crate::Text")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let service =
        tonic_build::manual::Service::builder().name("Echo").package("peers").method(echo).build();
    tonic_build::manual::Builder::new().compile(&[service]);
}
