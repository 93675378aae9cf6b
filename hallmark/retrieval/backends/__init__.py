"""Places where an index lies: the model folder, or a collection of OpenSearch or Qdrant that is held by name and digest."""
