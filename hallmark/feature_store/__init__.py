"""Feature store: views computed from events offline, by a stream, and read while a request waits."""
