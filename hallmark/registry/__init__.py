"""What was trained: model folders, their passports, and the versions of each domain in MLflow."""
