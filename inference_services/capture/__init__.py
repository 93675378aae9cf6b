"""Requests and answers, sent on as CloudEvents; independent of any model."""
