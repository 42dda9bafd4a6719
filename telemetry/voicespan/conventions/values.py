"""Values that attributes take."""

from __future__ import annotations

SCOPE = "voicespan"
OPERATION_GENERATE = "generate_content"
OPERATION_TOOL = "execute_tool"
OPERATION_REALTIME = "realtime_inference"
PROVIDER_GEMINI = "gcp.gemini"
PROVIDER_VERTEX = "gcp.vertex_ai"
# Who decides how long the provider waits before it takes speech for over.
ENDPOINTING_OWNER = "realtime_input_config.automatic_activity_detection.silence_duration_ms"
