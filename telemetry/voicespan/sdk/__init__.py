"""What needs the OpenTelemetry SDK: the store, the sender, and the providers that use them (extra `sdk`)."""

from voicespan.extras import missing

try:
    import google.rpc.status_pb2
    import opentelemetry.exporter.otlp.proto.common
    import opentelemetry.sdk.trace
    import requests
except ImportError as error:
    raise missing("voicespan.sdk", error, "sdk") from error

del google, opentelemetry, requests
