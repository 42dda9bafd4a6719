"""What the exchanges of one connection have in common."""

from collections.abc import Callable
from dataclasses import dataclass, field

from voicespan_simulator import server_messages as messages
from voicespan_simulator.client_messages import FunctionResponse, Setup
from voicespan_simulator.conversation import Conversation, Handles
from voicespan_simulator.deeds import AnswerDeed, CallDeed, ConnectionDeed
from voicespan_simulator.dialect import Dialect
from voicespan_simulator.line import Line
from voicespan_simulator.plan import Plan
from voicespan_simulator.profiles import Profile
from voicespan_simulator.voice import Voice
from voicespan_simulator.wire_json import JsonObject


@dataclass(slots=True)
class Call:
    """A connection after its setup."""

    setup: Setup
    profile: Profile
    dialect: Dialect
    conversation: Conversation
    handles: Handles
    voice: Voice
    line: Line
    new_call_id: Callable[[], str]
    deed: ConnectionDeed
    consumed_messages: int = 0
    dead: bool = False  # it was accepted, and that is all it will ever say
    running: dict[str, tuple[CallDeed, Plan]] = field(default_factory=dict)  # calls that block nothing
    cancelled: dict[str, CallDeed] = field(default_factory=dict)

    @property
    def transcribes_input(self) -> bool:
        """Whether the user's words are sent."""
        return self.setup.transcribe_input or self.profile.shape.transcribes_unasked

    @property
    def transcribes_output(self) -> bool:
        """Whether the words of answers are sent."""
        return self.setup.transcribe_output or self.profile.shape.transcribes_unasked

    async def send_handle(self) -> None:
        """Tells a handle for the conversation as it is now."""
        consumed = self.consumed_messages if self.setup.transparent else None
        handle = self.handles.save(self.conversation)
        await self.line.send(messages.resumption_update(handle, consumed))


def note_answer(deed: CallDeed, response: FunctionResponse, at_ns: int) -> None:
    """A tool answered, in time or not."""
    deed.answers.append(AnswerDeed(at_ns, response.response, response.scheduling, response.will_continue))


def described(deed: CallDeed) -> JsonObject:
    """A call as it stands in a message."""
    named: JsonObject = {} if deed.unnamed else {"id": deed.id}
    return {**named, "name": deed.name, "args": deed.args}
