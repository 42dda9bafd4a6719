"""A Gemini Live server on loopback: the demo's default model and everybody's test double.

It speaks the BidiGenerateContent protocol of the Developer API and of Vertex, and REST `generateContent`, so that an
unmodified client needs nothing but another base URL and the throw-away CA. It finds where speech begins and ends in the
audio it gets and plays a script. It recognises no speech: what the user "said" comes from the scenario.
"""
