"""Trained models: their folders, model cards, and the versions of each domain in MLflow."""
