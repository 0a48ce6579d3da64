"""Sources of secrets for ``Bootstrap(..., sources=[...])``."""
