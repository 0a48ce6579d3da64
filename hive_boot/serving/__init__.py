"""Serving: HTTP servers, ASGI middleware, probes, metrics and the status page."""
