"""Render what a deployment is made of from the declaration, so that the two never differ."""
