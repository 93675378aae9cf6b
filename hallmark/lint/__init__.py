"""Rules that know what KServe, Knative and Kubeflow would reject or silently ignore, checked without a cluster."""
