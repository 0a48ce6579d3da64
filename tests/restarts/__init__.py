"""A service that is restarted again and again under load, with real PostgreSQL and Redis."""
