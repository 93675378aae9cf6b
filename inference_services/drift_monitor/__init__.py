"""The drift sidecar: takes captured events, keeps a window per variant, answers with a verdict."""
