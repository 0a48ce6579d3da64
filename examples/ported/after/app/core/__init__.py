"""Settings, database and security of the application."""
