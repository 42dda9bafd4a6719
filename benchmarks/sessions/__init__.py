"""Lists and sums over many stored sessions."""
