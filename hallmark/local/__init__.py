"""The cluster of one: the Kubernetes API, KServe's behaviour and Envoy, on one machine."""
