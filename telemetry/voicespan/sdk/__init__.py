"""What needs the OpenTelemetry SDK: the store, the sender, and the providers that use them (extra `sdk`)."""

from importlib.util import find_spec

from voicespan.extras import missing

# Looked for, not imported: each is where it is used first, and some never are.
for _needed in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.common", "google.rpc", "requests"):
    try:
        if find_spec(_needed) is None:
            raise ModuleNotFoundError(name=_needed)
    except ModuleNotFoundError as error:
        raise missing("voicespan.sdk", error, "sdk") from error
