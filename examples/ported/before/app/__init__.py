"""The task list: a small web application."""
