"""Hallmark: train, serve, watch and renew the models of a second-hand fashion marketplace."""

__version__ = "0.1.0"
