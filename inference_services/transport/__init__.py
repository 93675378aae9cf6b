"""Bytes on connections: HTTP/1.1, one process a core; knows no model."""
