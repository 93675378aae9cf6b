"""Feature code that turns a raw record into a model's input, in training and in serving alike."""
