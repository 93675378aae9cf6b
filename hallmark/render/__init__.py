"""From declaration and release to Kubernetes objects."""
