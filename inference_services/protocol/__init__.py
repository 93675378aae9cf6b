"""The Open Inference Protocol and KServe's V1: requests to checked arrays, outputs to answers; knows no model and no server."""
