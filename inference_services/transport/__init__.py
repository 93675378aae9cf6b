"""Bytes on connections: HTTP/1.1, gRPC over HTTP/2, one process a core; knows no model."""
