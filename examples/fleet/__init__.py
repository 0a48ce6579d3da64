"""A fleet of services that verify each other's tokens, while their key is rotated."""
