"""Retrieval: an index that is part of its model, searched by vectors and words, with filters, and changed while it serves."""
