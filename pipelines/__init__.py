"""Graphs that compose components."""
