r"""For the tests of programs: the spans that a call made, compared as a tree, and a Gemini that needs no key.

    def test_my_agent_calls_its_tool(voice_spans, gemini_simulator, monkeypatch):
        for name, value in gemini_simulator.environment().items():
            monkeypatch.setenv(name, value)
        my_agent.run("question.wav")
        voice_spans.assert_tree('''
            WebSocket Session
              Live Connection 1
              Turn 1 [voicespan.turn.end_reason=completed]
                tool-navigate_to_location [voicespan.tool.outcome=ok]
        ''')

The fixtures come with the package, by pytest's entry point: `voice_spans` instruments google-genai and keeps what it
tells in memory, `gemini_simulator` is a running simulator, `gemini_client` makes google-genai clients for it. They
need the extras: pip install 'voicespan[sdk,simulator,instruments]'.
"""

from voicespan.testing.tree import TreeSpan, difference, render

__all__ = ["TreeSpan", "difference", "render"]
