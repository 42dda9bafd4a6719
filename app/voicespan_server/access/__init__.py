"""Who may call, from where, how often, how much at once, and for how much money."""
