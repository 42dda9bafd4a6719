"""What goes wrong, one thing at a time: how its calls go, the alert that must fire for it, the panel that shows why.

An incident's calls are told under a service name of its own, beside the clean day's, so that all run at once and each
alert names the one it is for. The two that are no manner of calling are staged by `play`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.pipeline.stories import CLEAN, Manner


@dataclass(frozen=True)
class Incident:
    """`panel` is a dashboard's uid and a panel's title; `manner` is None where the incident is staged."""

    name: str
    alert: str
    panel: tuple[str, str]
    manner: Manner | None = None
    staged_on: str = ""

    @property
    def job(self) -> str:
        """The service that the alert is about."""
        return self.staged_on or self.name


CLEAN_DAY = "clean-day"

INCIDENTS = (
    Incident(
        "model-stall",
        "ModelStalls",
        ("voicespan-experience", "Stalls per minute, by kind"),
        replace(CLEAN, stall_share=0.3),
    ),
    Incident("slow-tool", "ToolSlow", ("voicespan-tools", "Duration, p95"), replace(CLEAN, tool_s=9.0)),
    Incident(
        "endpointing-grown",
        "EndpointingGrown",
        ("voicespan-experience", "Its parts, p95"),
        replace(CLEAN, endpointing_s=3.0),
    ),
    Incident(
        "go-away-gap",
        "ReconnectGap",
        ("voicespan-sessions", "Dial and setup, p95"),
        replace(CLEAN, go_away_share=1.0, reconnect_s=4.0),
    ),
    Incident(
        "cost-spike",
        "CostPerTurnHigh",
        ("voicespan-models", "Cost per turn, by bucket"),
        replace(CLEAN, context_tokens=120_000),
    ),
    Incident(
        "echo",
        "EchoBargesIn",
        ("voicespan-experience", "Barge-ins per turn"),
        replace(CLEAN, barge_in_share=0.7, heard_share=0.06),
    ),
    Incident(
        "quota",
        "ProviderRefuses",
        ("voicespan-sessions", "Refused per minute, by error"),
        replace(CLEAN, refused="429"),
    ),
    Incident(
        "loud-noise",
        "NoiseTakenForSpeech",
        ("voicespan-experience", "Interruptions per minute"),
        replace(CLEAN, noise_share=0.5),
    ),
    Incident("model-slow", "ModelSlow", ("voicespan-models", "Model's part of the wait"), replace(CLEAN, model_s=5.0)),
    Incident("tool-failing", "ToolFailing", ("voicespan-tools", "Failed or timed out"), replace(CLEAN, tool_fails=0.6)),
    Incident(
        "worker-killed",
        "WorkerDied",
        ("voicespan-delivery", "Sessions of processes that died"),
        staged_on="voicespan",
    ),
    Incident(
        "langfuse-refuses",
        "GenAISpansLost",
        ("voicespan-delivery", "Refused for good"),
        staged_on="otel-collector",
    ),
    Incident(
        "langfuse-away", "LangfuseAway", ("voicespan-delivery", "Requests on their way"), staged_on="otel-collector"
    ),
    Incident(
        "collector-down", "CollectorDown", ("voicespan-delivery", "The collector answers"), staged_on="otel-collector"
    ),
)
