"""Lifecycle: states, tasks, resources, services and signals. It does not import `secrets`."""
