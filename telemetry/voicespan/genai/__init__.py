"""google-genai's Live sessions, watched: what `voicespan.instrumentor` switches on. Everything here needs google-genai.

patch        its classes' methods, replaced and put back
program      what one `instrument()` began: providers, settings, calls
calls        which session a connection belongs to, and when one without a connection is over
connection   one connection: what passes is told to the session
setup        what the program asked of it
errors       what ended it, as close codes and names
"""
