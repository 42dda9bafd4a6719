"""A server under paced calls for minutes: whether anything in it grows."""
