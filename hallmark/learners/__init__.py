"""Learners: how weights are found, and how they become ONNX."""
