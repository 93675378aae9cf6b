"""Sealed model folders, releases, and the records kept about them."""
