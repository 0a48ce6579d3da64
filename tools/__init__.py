"""Programs for the maintainers, which are not part of the package."""
