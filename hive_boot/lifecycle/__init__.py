"""The wing of life: what state an application is in, and what the signals say."""
