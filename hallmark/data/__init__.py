"""Sources of examples: the synthetic marketplace, a team's own files, and the contract both must keep."""
