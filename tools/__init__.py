"""Programs that show or prove, and that no image ships."""
