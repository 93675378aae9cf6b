"""Decisions: thresholds with a guarantee, what is worth a person's minutes, and the pure engine that an answer replays from."""
