"""The service that decides: it asks a graph's nodes within a deadline, and answers with the verdict, its path, evidence and digests."""
