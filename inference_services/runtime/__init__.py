"""The model server: Open Inference Protocol over REST and gRPC, on the KServe SDK."""
