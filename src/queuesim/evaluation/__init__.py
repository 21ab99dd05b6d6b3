"""The evaluation: the task service's claims, each a check that runs and scores only on evidence."""
