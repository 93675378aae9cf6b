"""Learners: a forest by boosting, a network by gradient descent; each kept as plain text or tensors, served as ONNX."""
