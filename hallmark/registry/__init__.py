"""What was trained: model folders, their model cards, and the versions of each domain in MLflow."""
