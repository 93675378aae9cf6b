"""The synthetic marketplace: what the domains' synthetic.py share. In no image."""
