"""How well the end of the user's speech is found: speech whose end is known, in the noise that calls are made in."""
