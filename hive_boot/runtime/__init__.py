"""One run of an application: secrets and lifecycle combined."""
