"""Checks before anything runs: what queueing arithmetic says will go wrong. See `queuesim.check.check`."""
