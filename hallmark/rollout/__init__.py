"""Released and intended versions: release.yaml and the patches that carry it out."""
