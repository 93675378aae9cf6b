"""The model server: Open Inference Protocol over REST and gRPC, on ONNX Runtime, with the KServe SDK's interface beside it."""
