"""`POST /v1/chat`: the same tools by text, over generate_content; one GenAI span under the request's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from google.genai import types
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from pydantic import BaseModel, ConfigDict, Field

from voicespan import Capture, Model, Usage
from voicespan import attributes as attr
from voicespan import conventions as c
from voicespan import identity as ident
from voicespan import messages as msg
from voicespan.estimate import Bill
from voicespan.gemini import content_usage
from voicespan.guard import guarded
from voicespan.messages import Conversation
from voicespan.metrics import ModelMetrics
from voicespan.operations import (
    EndReason,
    EndTool,
    GenerationRecord,
    StartSource,
    StartTool,
    ToolRecord,
    TurnRecord,
)
from voicespan_server.live import Upstream
from voicespan_server.settings import Settings
from voicespan_server.telemetry import Telemetry
from voicespan_server.tools import Toolbox, ToolEnd, declarations
from voicespan_server.voice import new_identity

# A model that goes on calling tools is cut off here and asked for an answer.
MAX_ROUNDS = 5


class ChatRequest(BaseModel):
    """A typed question. With `session_id` it belongs to an earlier session."""

    model_config = ConfigDict(extra="forbid")

    message: str = Field(min_length=1, max_length=8_000)
    session_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.:-]{1,200}$")
    user_id: str | None = Field(default=None, min_length=1, max_length=200)


class ToolUse(BaseModel):
    """A tool that was called for the answer."""

    name: str
    status: str


class ChatResponse(BaseModel):
    """The answer, and where its trace is. `usage` in tokens, `cost_usd` at list price where one is known."""

    text: str
    session_id: str
    trace_id: str
    model: str
    tools: list[ToolUse]
    usage: dict[str, int]
    cost_usd: float | None


class Exchange:
    """One question on its way to an answer: what was said, called and counted so far."""

    def __init__(
        self, question: str, context: Context, telemetry: Telemetry, metrics: ModelMetrics, toolbox: Toolbox
    ) -> None:
        self.toolbox = toolbox
        self.question = question
        self.context = context
        self.metrics = metrics
        self.tracer, self.capture = telemetry.tracer, telemetry.capture
        self.tools: list[ToolRecord] = []
        self.usage: Usage | None = None
        self.text = ""
        self.generations: list[GenerationRecord] = []
        self.finish_reason: str | None = None

    def book(self, response: types.GenerateContentResponse, began_ns: int) -> None:
        """Count one answer of the model."""
        usage = content_usage(response.usage_metadata) if response.usage_metadata else None
        self.generations.append(GenerationRecord(began_ns, time.time_ns(), usage))
        if usage:
            self.usage = usage if self.usage is None else self.usage + usage
        if response.candidates and response.candidates[0].finish_reason:
            self.finish_reason = response.candidates[0].finish_reason.value

    async def call(self, call_id: str, name: str, arguments: Mapping[str, object]) -> ToolEnd:
        """Run a tool under its span."""
        start = StartTool(call_id, 1, time.time_ns(), name, arguments)
        span = self.tracer.start_span(
            c.TOOL.format(name=name),
            context=self.context,
            kind=SpanKind.INTERNAL,
            attributes=attr.tool_start(start, self.capture),
        )
        context = trace.set_span_in_context(span, self.context)
        token = otel_context.attach(context)
        try:
            end = await self.toolbox.run(name, arguments)
            ended = EndTool(call_id, time.time_ns(), end.outcome, end.response, end.error, responses=1)
            _describe_tool(span, ended, self.capture)
            self._measure_tool(start, ended, context)
        finally:
            otel_context.detach(token)
            span.end()
        self.tools.append(ToolRecord(call_id, name, arguments, end.outcome, end.response))
        return end

    @guarded(default=None)
    def _measure_tool(self, start: StartTool, end: EndTool, context: Context) -> None:
        self.metrics.tool(start, end, context)

    @guarded(default=None)
    def measure(self, record: TurnRecord) -> None:
        """Count what the exchange came to."""
        self.metrics.generations(record, self.context)

    def record(self, start_ns: int, error: BaseException | None) -> TurnRecord:
        """The exchange as a turn of one."""
        return TurnRecord(
            index=1,
            start_ns=start_ns,
            end_ns=time.time_ns(),
            source=StartSource.CLIENT_CONTENT,
            end_reason=EndReason.ERROR if error else EndReason.COMPLETED,
            error_type=type(error).__name__ if error else None,
            generations=len(self.generations),
            records=tuple(self.generations),
            usage=self.usage,
            user_text=self.question,
            model_text=self.text,
            finish_reason=self.finish_reason,
            tools=tuple(self.tools),
        )


async def chat(
    request: ChatRequest,
    settings: Settings,
    upstream: Upstream,
    telemetry: Telemetry,
    toolbox: Toolbox,
    *,
    key_id: str,
) -> ChatResponse:
    """Answer a typed question; `key_id` is of the API key that it runs on, or empty.

    Raises:
        google.genai.errors.APIError: the model refused; the span has told of it.
    """
    identity = new_identity(upstream.backend, request.user_id, request.session_id, key_id=key_id)
    ident.stamp(trace.get_current_span(), identity)
    start_ns = time.time_ns()
    context = ident.in_context(identity)
    capture = telemetry.capture
    span = telemetry.tracer.start_span(
        c.CHAT,
        context=context,
        kind=SpanKind.CLIENT,
        start_time=start_ns,
        attributes={**identity.attributes(), **attr.request(upstream.chat_model), c.ENTRY: True},
    )
    metrics = telemetry.metrics.model(upstream.chat_model, upstream.backend)
    exchange = Exchange(request.message, trace.set_span_in_context(span, context), telemetry, metrics, toolbox)
    failure: BaseException | None = None
    try:
        await _converse(exchange, settings, upstream)
    except BaseException as error:
        failure = error
        span.set_status(Status(StatusCode.ERROR, capture.error(str(error), type(error).__name__)))
        raise
    finally:
        record = exchange.record(start_ns, failure)
        _describe(span, record, upstream.chat_model, settings.instructions, capture)
        exchange.measure(record)
        span.end()
    cost = attr.cost_of(exchange.usage, upstream.chat_model)
    usage = exchange.usage or Usage()
    return ChatResponse(
        text=exchange.text,
        session_id=identity.session_id,
        trace_id=trace.format_trace_id(span.get_span_context().trace_id),
        model=upstream.chat_model.name,
        tools=[ToolUse(name=t.name, status=t.outcome.value if t.outcome else "") for t in exchange.tools],
        usage={"input": usage.input_tokens, "output": usage.output_tokens, "total": usage.total},
        cost_usd=cost.total if cost else None,
    )


@guarded(default=None)
def _describe(span: Span, record: TurnRecord, model: Model, instructions: str, capture: Capture) -> None:
    bill = Bill(record.usage) if record.usage else None
    span.set_attributes(attr.response(record, model, attr.TEXT, bill))
    if capture.on_spans:
        asked = Conversation(instructions, capture).recent(record.index) + msg.question(record, capture)
        span.set_attributes(attr.exchange_text(asked, msg.answer(record, capture), attr.finish_reason(record)))


@guarded(default=None)
def _describe_tool(span: Span, end: EndTool, capture: Capture) -> None:
    span.set_attributes(attr.tool_end(end, capture))
    if attr.tool_failed(end.outcome):
        span.set_status(Status(StatusCode.ERROR, capture.error(end.error, end.outcome.value)))


async def _converse(exchange: Exchange, settings: Settings, upstream: Upstream) -> None:
    contents: list[types.Content] = [types.UserContent(exchange.question)]
    for round_ in range(MAX_ROUNDS + 1):
        began_ns = time.time_ns()
        response = await upstream.client.aio.models.generate_content(
            model=settings.chat_model,
            contents=contents,
            config=types.GenerateContentConfig(
                system_instruction=settings.instructions,
                tools=[declarations()] if round_ < MAX_ROUNDS else None,
                automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
                http_options=types.HttpOptions(timeout=int(settings.chat_timeout_s * 1000)),
            ),
        )
        exchange.book(response, began_ns)
        calls = response.function_calls or []
        if not calls or not response.candidates or not response.candidates[0].content:
            exchange.text = response.text or ""
            return
        contents.append(response.candidates[0].content)
        ends = await asyncio.gather(
            *(
                exchange.call(call.id or f"call-{round_}-{number}", call.name or "", call.args or {})
                for number, call in enumerate(calls)
            )
        )
        contents.append(
            types.Content(
                role="user",
                parts=[
                    types.Part(
                        function_response=types.FunctionResponse(id=call.id, name=call.name, response=end.response)
                    )
                    for call, end in zip(calls, ends, strict=True)
                ],
            )
        )
