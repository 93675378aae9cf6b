"""The page of `hallmark ui`: what is served, trained and decided, read-only, here or on a cluster behind its gateway."""
