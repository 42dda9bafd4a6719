"""What needs the OpenTelemetry SDK: the store, the sender, and the providers that use them (extra `sdk`)."""
