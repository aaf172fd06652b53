//! Attribute keys of OpenTelemetry semantic conventions 1.44 that more than one crate names.

/// Logical name of the service.
pub const SERVICE_NAME: &str = "service.name";
/// Namespace of `service.name`.
pub const SERVICE_NAMESPACE: &str = "service.namespace";
/// Unique id of the service instance.
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
/// Version of the service.
pub const SERVICE_VERSION: &str = "service.version";
/// Importance of the service.
pub const SERVICE_CRITICALITY: &str = "service.criticality";
/// Deployment tier.
pub const DEPLOYMENT_ENVIRONMENT: &str = "deployment.environment.name";
/// Name of the host.
pub const HOST_NAME: &str = "host.name";
/// Unique id of the host.
pub const HOST_ID: &str = "host.id";
/// Unique id of the container.
pub const CONTAINER_ID: &str = "container.id";
/// Process id.
pub const PROCESS_PID: &str = "process.pid";
/// Language of the telemetry SDK.
pub const TELEMETRY_SDK_LANGUAGE: &str = "telemetry.sdk.language";
