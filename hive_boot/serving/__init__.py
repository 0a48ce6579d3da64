"""The door to the outside: what probes, collectors and people are told over HTTP."""
