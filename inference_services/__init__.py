"""Serving processes: the model server, the drift monitor, and each domain's release."""
