"""A Gemini Live simulator for the tests of a program. Needs the extra `simulator`."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from voicespan.extras import missing
from voicespan_simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from google import genai

SCENARIO_HEADER = "x-simulator-scenario"


class MakeClient(Protocol):
    """See `Simulator.client`."""

    def __call__(self, scenario: str | None = None, *, vertex: bool = False) -> genai.Client: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Simulator:
    """Where it is, and whose certificate to trust."""

    base_url: str
    ca_file: Path

    def client(self, scenario: str | None = None, *, vertex: bool = False) -> genai.Client:
        """A google-genai client whose Live sessions play a scenario; by default the demo."""
        try:
            from google import genai  # noqa: PLC0415
        except ImportError as error:
            raise missing("the fixture gemini_client", error, "instruments") from error
        trust = ssl.create_default_context(cafile=self.ca_file)
        options = genai.types.HttpOptions(
            base_url=self.base_url,
            api_version="v1beta1" if vertex else "v1beta",
            async_client_args={"ssl": trust},
            client_args={"verify": trust},
            headers={SCENARIO_HEADER: scenario} if scenario else None,
        )
        return genai.Client(api_key="none", vertexai=vertex, http_options=options)

    def environment(self) -> dict[str, str]:
        """What a program that makes its own `genai.Client()` needs in its environment to reach the simulator."""
        return {
            "GEMINI_API_KEY": "none",
            "GOOGLE_GEMINI_BASE_URL": self.base_url,
            "SSL_CERT_FILE": str(self.ca_file),
            "VOICESPAN_BACKEND": "simulator",
        }


@contextmanager
def running_simulator() -> Iterator[Simulator]:
    """A simulator in a process of its own, at the fast pace; it ends with the block, or with this process."""
    with SimulatorProcess(pace="fast") as process:
        yield Simulator(process.base_url, process.ca_file)
