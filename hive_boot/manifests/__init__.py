"""Manifests: deployment files rendered from the declaration of an application."""
