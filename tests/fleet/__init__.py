"""A fleet of real processes whose key is replaced under load, behind a real Prometheus."""
