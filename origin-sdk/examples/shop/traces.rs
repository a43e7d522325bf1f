//! Sends traces to an OpenTelemetry collector, with the feature `otlp`.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use origin_sdk::BoxError;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// Sends the spans that are left when it is dropped.
pub(crate) struct Traces(SdkTracerProvider);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Returns the layer that sends spans by OTLP over HTTP to the collector of
/// `OTEL_EXPORTER_OTLP_ENDPOINT`; by default `http://localhost:4318`.
pub(crate) fn layer<S>() -> Result<(impl Layer<S>, Traces), BoxError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let exporter = SpanExporter::builder().with_http().build()?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name("shop").build())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    // The spans of the cache are at the level `DEBUG`.
    let filter = Targets::new().with_target("shop", Level::INFO).with_target("origin_sdk", Level::DEBUG);
    Ok((layer.with_filter(filter), Traces(provider)))
}
