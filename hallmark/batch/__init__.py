"""Batches: a whole file scored by a version, in blocks, with memory that does not grow."""
