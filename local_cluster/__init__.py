"""The local cluster: the Kubernetes API, KServe's behaviour and Envoy, on one machine."""
