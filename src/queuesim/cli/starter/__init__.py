"""What ``queuesim init`` writes: a scenario, and the processor that it runs."""
