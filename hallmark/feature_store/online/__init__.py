"""Online stores: the newest row of every view and entity, written by a stream and a batch at once, read while a request waits."""
