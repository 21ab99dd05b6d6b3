"""Testing of queues: the oracles that judge every run, and what users test their own handlers with."""
