"""How each model behaves on the wire, as data. Taken from public recordings of the real service (docs/simulator.md)."""

from dataclasses import dataclass, field, replace
from enum import Enum
from fnmatch import fnmatchcase

from voicespan_simulator.tokens import Tokens


class Activity(Enum):
    """What a model tells of the user's voice activity."""

    NONE = "none"
    ALONE = "alone"
    WITH_CONTENT = "with_content"  # beside an empty serverContent in one message


class Transcript(Enum):
    """Where the words of the answer stand against its audio."""

    AHEAD = "ahead"  # the first words before any audio, the last ones well before its end
    WITH_AUDIO = "with_audio"  # in the same messages
    BEFORE_AUDIO = "before_audio"


class Handle(Enum):
    """When a resumption handle comes without being asked for."""

    NEVER = "never"
    AT_START = "at_start"
    AFTER_TOOL_RESPONSE = "after_tool_response"


@dataclass(frozen=True, slots=True)
class Shape:
    """Which messages there are, and in what order."""

    transcript: Transcript
    empty_before_content: bool = False  # `{}` ahead of nearly every message of an answer
    empty_contents: int = 0  # `serverContent: {}` ahead of each generation
    empty_contents_after_speech: int = 0
    activity: Activity = Activity.NONE
    transcript_markers: bool = False  # an empty outputTranscription opens, `finished` closes
    input_in_fragments: bool = False
    transcribes_unasked: bool = False
    unasked_handle: Handle = Handle.NEVER
    thought_part: bool = False
    thinks_before_tools: bool = False
    closes_tool_call: bool = False  # the tool call's half of an exchange has its own turnComplete and usage
    single_sample_first: bool = False  # every other answer begins with an audio message of 2 bytes
    model_role: bool = False
    audio_message_ms: int = 70


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, at real pace."""

    setup_s: float = 0.3
    begin_s: float = 0.42  # from the end of input to the first sign of the model
    first_audio_s: float = 0.15  # from there to the first audio
    generation_speed: float = 3.6  # seconds of audio per second


@dataclass(frozen=True, slots=True)
class Accounting:
    """What a usage report counts, and under which modality."""

    base: Tokens  # the prompt of a session that said nothing yet
    thoughts: int = 0
    thoughts_in_tool_rounds: bool = True
    image: int = 258
    hears_as_text: bool = False  # the user's speech is counted as TEXT, with a token or a few of AUDIO
    tool_rounds_unclassified: bool = False  # calls and results are in no modality, else TEXT
    adds_prompts_of_tool_round: bool = False  # one report for a round, with the prompts of both model calls
    transcript_as_text: bool = False  # the response counts its words as well
    call: int = 12


@dataclass(frozen=True, slots=True)
class Profile:
    """One family of models."""

    name: str
    models: tuple[str, ...]  # patterns of model names
    shape: Shape
    accounting: Accounting
    timing: Timing = field(default_factory=Timing)


GEMINI_3_8 = Profile(
    name="gemini-3.8-live",
    models=("gemini-3.8-live",),
    shape=Shape(
        transcript=Transcript.WITH_AUDIO,
        empty_before_content=True,
        empty_contents=1,
        empty_contents_after_speech=1,
        activity=Activity.ALONE,
        transcribes_unasked=True,
        unasked_handle=Handle.AT_START,
        single_sample_first=True,
        model_role=True,
        audio_message_ms=210,
    ),
    # A round of tools was never recorded on 3.8: it is counted as on 3.1.
    accounting=Accounting(
        base=Tokens(text=301, audio=222, unclassified=27),
        thoughts=40,
        image=272,
        tool_rounds_unclassified=True,
        adds_prompts_of_tool_round=True,
    ),
    timing=Timing(setup_s=0.78, begin_s=0.3),
)

GEMINI_3_1 = Profile(
    name="gemini-3.1-flash-live-preview",
    models=("gemini-3.1-flash-live*",),
    shape=Shape(
        transcript=Transcript.WITH_AUDIO,
        empty_contents=1,
        empty_contents_after_speech=2,
        activity=Activity.WITH_CONTENT,
        transcribes_unasked=True,
        unasked_handle=Handle.AFTER_TOOL_RESPONSE,
        single_sample_first=True,
        audio_message_ms=180,
    ),
    accounting=Accounting(
        base=Tokens(text=97, unclassified=33),
        tool_rounds_unclassified=True,
        adds_prompts_of_tool_round=True,
    ),
    timing=Timing(setup_s=0.21),
)

GEMINI_2_5_PREVIEW = Profile(
    name="gemini-2.5-flash-native-audio-preview",
    models=("gemini-2.5-flash-native-audio-preview-*", "gemini-2.5-flash-preview-native-audio*"),
    shape=Shape(transcript=Transcript.AHEAD, input_in_fragments=True, thought_part=True),
    accounting=Accounting(base=Tokens(text=1120), thoughts=28, thoughts_in_tool_rounds=False, hears_as_text=True),
)

GEMINI_2_5_LATEST = Profile(
    name="gemini-2.5-flash-native-audio-latest",
    models=("gemini-2.5-flash-native-audio-*",),
    shape=replace(GEMINI_2_5_PREVIEW.shape, thinks_before_tools=True),
    accounting=Accounting(base=Tokens(text=365), thoughts=46, hears_as_text=True),
)

VERTEX_NATIVE_AUDIO = Profile(
    name="gemini-live-2.5-flash-native-audio",
    models=("gemini-live-2.5-flash-native-audio*", "gemini-live-2.5-flash-preview-native-audio*"),
    shape=Shape(
        transcript=Transcript.AHEAD,
        transcript_markers=True,
        closes_tool_call=True,
        model_role=True,
        audio_message_ms=250,
    ),
    accounting=Accounting(base=Tokens(), transcript_as_text=True, call=5),
)

VERTEX_HALF_CASCADE = Profile(
    name="gemini-live-2.5-flash",
    models=("gemini-live-2.5-flash*",),
    shape=replace(VERTEX_NATIVE_AUDIO.shape, transcript=Transcript.BEFORE_AUDIO),
    accounting=VERTEX_NATIVE_AUDIO.accounting,
)

# The first that matches counts: the narrower patterns stand first.
PROFILES = (
    GEMINI_3_8,
    GEMINI_3_1,
    GEMINI_2_5_PREVIEW,
    GEMINI_2_5_LATEST,
    VERTEX_NATIVE_AUDIO,
    VERTEX_HALF_CASCADE,
)


def bare_model_name(model: str) -> str:
    """`models/NAME` and `projects/.../publishers/google/models/NAME` without what stands in front."""
    return model.rpartition("/")[2]


def profile_of(model: str) -> Profile | None:
    """The profile of a model, or None for one that the simulator does not know."""
    name = bare_model_name(model)
    for profile in PROFILES:
        if any(fnmatchcase(name, pattern) for pattern in profile.models):
            return profile
    return None
