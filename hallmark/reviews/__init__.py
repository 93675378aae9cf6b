"""Cases for people: a queue with leases, their verdicts, how well they agree, and the labels that come of it."""
