"""Kubeflow Pipelines components: one thin file a step."""
