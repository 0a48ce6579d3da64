"""Redaction: secret values removed from logs, tracebacks and warnings."""
