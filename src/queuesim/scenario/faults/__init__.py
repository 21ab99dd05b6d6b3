"""What goes wrong in a run: how a scenario writes it, and how it is made to happen."""
