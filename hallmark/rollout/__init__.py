"""What is released and what should be: release.yaml and the patches that carry it out."""
