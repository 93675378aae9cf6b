"""A domain's declaration: `domain.yaml` and all its sections."""
