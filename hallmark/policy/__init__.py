"""Policies: which treatment each entity gets, within a budget and caps, and what a policy is worth by a log."""
