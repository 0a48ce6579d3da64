"""The wing of the secrets: declared, found, judged, kept. It knows no event loop."""
